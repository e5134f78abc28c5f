"""Which weights stages change, what they are called, and why all others stay."""

import numpy as np
import pytest

from components.common.errors import ModelError
from components.common.kernels import copy_of, kernels, skipped
from components.common.legacy_keras import keras

L = keras.layers


class Subclass(L.Dense):
    """Not Dense itself: its call may do anything."""


@pytest.mark.parametrize(
    ("layer", "shape", "kernel"),
    [
        (L.Conv1D(2, 3), (8, 2), (3, 2, 2)),
        (L.Conv2D(2, 3), (8, 8, 2), (3, 3, 2, 2)),
        (L.Conv2DTranspose(5, 3), (8, 8, 2), (3, 3, 5, 2)),
        (L.SeparableConv2D(5, 3), (8, 8, 2), (1, 1, 2, 5)),
        (L.SeparableConv1D(5, 3), (8, 2), (1, 2, 5)),
        (L.Dense(5), (4,), (4, 5)),
    ],
    ids=lambda v: type(v).__name__,
)
def test_convolutions_and_matrix_products_are_changed(layer, shape, kernel):
    model = keras.Sequential([L.Input(shape), layer])
    (found,) = kernels(model).values()
    assert (found.name, tuple(found.variable.shape)) == (layer.name, kernel)
    assert kernel[found.channel_axis] == (2 if "conv" in layer.name and "5" not in str(kernel) else 5)
    assert skipped(model) == {}


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (L.DepthwiseConv2D(3, name="x"), "a depthwise kernel has a handful of weights a channel"),
        (L.BatchNormalization(name="x"), "normalization is folded"),
        (L.GroupNormalization(1, name="x"), "normalization has a few weights a channel"),
        (Subclass(3, name="x"), "no rule for layers of type Subclass"),
        (L.Dense(1, name="x", use_bias=False), "a single weight"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_all_others_stay_and_the_reason_is_told(layer, reason):
    single = isinstance(layer, L.Dense) and layer.units == 1
    model = keras.Sequential([L.Input((1,) if single else (8, 8, 1)), layer])
    assert kernels(model) == {}
    assert list(skipped(model)) == ["x"] and skipped(model)["x"].startswith(reason)


def test_layers_without_weights_are_not_mentioned():
    assert skipped(keras.Sequential([L.Input((4, 4, 1)), L.MaxPool2D(), L.Flatten()])) == {}


def nested() -> keras.Model:
    inner = keras.Sequential([L.Input((4,)), L.Dense(4, name="dense")], name="inner")
    outer = keras.Sequential([L.Input((4,)), inner, L.Dense(4, name="dense")], name="outer")
    image = L.Input((4,))
    return keras.Model(image, L.Dense(2, name="dense")(outer(outer(image))), name="nested")


def test_names_tell_nested_layers_apart_and_a_shared_one_comes_once():
    assert list(kernels(nested())) == ["outer/inner/dense", "outer/dense", "dense"]


def test_a_copy_computes_the_same_and_leaves_the_original_alone():
    model, x = nested(), np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    expected = model.predict(x, verbose=0)
    copy = copy_of(model)
    np.testing.assert_array_equal(copy.predict(x, verbose=0), expected)
    copy.set_weights([np.zeros_like(w) for w in copy.get_weights()])
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_with_the_layer(bad):
    model = nested()
    model.get_layer("outer").get_layer("inner").get_layer("dense").bias.assign([bad, 0, 0, 0])
    with pytest.raises(
        ModelError, match="^model nested must have finite weights. Received: NaN .*in outer/inner/dense$"
    ):
        copy_of(model)


def test_a_model_without_a_kernel_is_refused():
    model = keras.Sequential([L.Input((4, 4, 1)), L.DepthwiseConv2D(3), L.Flatten()], name="bare")
    with pytest.raises(ModelError, match="^model bare must have a convolution or Dense layer to compress"):
        copy_of(model)


def test_a_subclassed_model_is_refused_in_one_line():
    class Own(keras.Model):
        def __init__(self):
            super().__init__(name="own")
            self.dense = L.Dense(2)

        def call(self, x):
            return self.dense(x)

    model = Own()
    model(np.zeros((1, 3), np.float32))
    with pytest.raises(ModelError, match="^model own must be Sequential or functional. Keras says: ") as caught:
        copy_of(model)
    assert "\n" not in str(caught.value)
