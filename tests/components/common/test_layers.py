"""Which layers stages change, and rebuilding a model with some of them wrapped."""

import numpy as np
import pytest

from components.common.errors import ModelError
from components.common.layers import is_compressed, kernels, wrap_compressed
from components.common.legacy_keras import keras

L = keras.layers


class Subclass(L.Dense):
    """Not Dense itself: its call may do anything."""


@pytest.mark.parametrize(
    ("layer", "compressed"),
    [
        (L.Conv2D(1, 1), True),
        (L.Dense(1), True),
        (L.DepthwiseConv2D(1), False),
        (L.SeparableConv2D(1, 1), False),
        (L.Conv2DTranspose(1, 1), False),
        (L.GroupNormalization(1), False),
        (Subclass(1), False),
    ],
    ids=lambda v: type(v).__name__,
)
def test_exactly_conv2d_and_dense_are_compressed(layer, compressed):
    assert is_compressed(layer) is compressed


def test_wrapping_copies_the_model_and_leaves_the_original_alone(make_model, public):
    model = make_model()
    before = [w.copy() for w in model.get_weights()]
    seen = []
    copy = wrap_compressed(model, lambda layer: seen.append(layer.name) or layer)
    assert seen == ["conv", "dense", "logits"]
    images = public.images[:4].astype(np.float32) / 255
    np.testing.assert_array_equal(copy.predict(images, verbose=0), model.predict(images, verbose=0))
    copy.set_weights([np.zeros_like(w) for w in copy.get_weights()])
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(make_model, bad):
    model = make_model()
    weights = model.get_weights()
    weights[-1][0] = bad  # a bias: nothing is compressed in it, and yet
    model.set_weights(weights)
    with pytest.raises(ModelError, match="^model tiny must have finite weights"):
        wrap_compressed(model, lambda layer: layer)


def test_a_model_without_a_layer_to_compress_is_refused():
    model = keras.Sequential([L.Input((4, 4, 1)), L.DepthwiseConv2D(3), L.Flatten()], name="bare")
    with pytest.raises(ModelError, match="^model bare must have a Conv2D or Dense layer"):
        wrap_compressed(model, lambda layer: layer)


def test_kernels_are_those_of_the_compressed_layers_without_biases(make_model):
    found = kernels(make_model())
    assert {name: kernel.shape for name, kernel in found.items()} == {
        "conv": (3, 3, 1, 4),
        "dense": (100, 8),
        "logits": (8, 3),
    }
