"""BatchNormalization folded into the layer before it: the same function, and nothing left to scale."""

import numpy as np
import pytest

from components.common.folding import fold_normalization
from components.common.legacy_keras import keras

L = keras.layers


def busy(model: keras.Model) -> keras.Model:
    """Gives every weight a value, variances a positive one."""
    draw = np.random.default_rng(5)
    model.set_weights([draw.normal(size=w.shape) * 0.5 for w in model.get_weights()])
    for layer in model._flatten_layers():
        if isinstance(layer, L.BatchNormalization):
            layer.moving_variance.assign(draw.uniform(0.2, 3, layer.moving_variance.shape))
    return model


def folded_scales(model: keras.Model) -> list[bool]:
    """Whether each normalization has nothing left to scale, to the bit."""
    found = [layer for layer in model._flatten_layers() if isinstance(layer, L.BatchNormalization)]
    one = [np.float32(1) - np.float32(b.epsilon) for b in found]
    return [bool(np.all(b.moving_variance.numpy() == v)) and not b.trainable for b, v in zip(found, one, strict=True)]


@pytest.mark.parametrize("settings", [{}, {"scale": False}, {"center": False}], ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "layer",
    [
        lambda b: L.Conv2D(5, 3, use_bias=b),
        lambda b: L.Conv2DTranspose(5, 3, use_bias=b),
        lambda b: L.DepthwiseConv2D(3, depth_multiplier=2, use_bias=b),
        lambda b: L.SeparableConv2D(5, 3, use_bias=b),
        lambda b: L.Dense(5, use_bias=b),
    ],
    ids=["conv", "transpose", "depthwise", "separable", "dense"],
)
def test_the_model_computes_the_same_and_the_scale_is_gone(layer, bias, settings):
    model = busy(keras.Sequential([L.Input((6, 6, 3)), layer(bias), L.BatchNormalization(**settings), L.ReLU()]))
    x = np.random.default_rng(1).normal(size=(4, 6, 6, 3)).astype(np.float32)
    before, kernel = model(x), model.layers[0].get_weights()[0].copy()
    fold_normalization(model)
    np.testing.assert_allclose(model(x), before, rtol=1e-4, atol=1e-4)
    assert folded_scales(model) == [True]
    fold_normalization(model)  # a second time changes nothing more
    np.testing.assert_allclose(model(x), before, rtol=1e-4, atol=1e-4)
    assert isinstance(model.layers[0], L.SeparableConv2D) or not np.allclose(model.layers[0].get_weights()[0], kernel)


def test_the_shift_is_a_bias_that_can_be_trained():
    model = busy(keras.Sequential([L.Input((6, 6, 3)), L.Conv2D(5, 3, use_bias=False), L.BatchNormalization()]))
    fold_normalization(model)
    assert [variable.shape for variable in model.trainable_variables] == [(3, 3, 3, 5), (5,)]
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    x = np.random.default_rng(1).normal(size=(4, 6, 6, 3)).astype(np.float32)
    np.testing.assert_array_equal(copy(x), model(x))
    assert np.any(model.layers[0].bias.numpy())


def test_it_reaches_into_nested_models_and_frozen_means_inference():
    inner = keras.Sequential([L.Input((6, 6, 3)), L.Conv2D(3, 3, padding="same"), L.BatchNormalization()], name="inner")
    image = L.Input((6, 6, 3))
    model = busy(keras.Model(image, L.Add()([inner(image), inner(inner(image))])))
    x = np.random.default_rng(1).normal(size=(4, 6, 6, 3)).astype(np.float32)
    before = model(x)
    fold_normalization(model)
    assert folded_scales(model) == [True]
    np.testing.assert_allclose(model(x, training=True), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["first", "after an activation", "after two layers", "two readers", "another axis"])
def test_a_normalization_that_no_kernel_can_take_up_stays(kind):
    image = L.Input((6, 6, 3))
    conv = L.Conv2D(3, 3, padding="same", activation="relu" if kind == "after an activation" else None)
    norm = L.BatchNormalization(axis=1 if kind == "another axis" else -1)
    if kind == "first":
        output = norm(image)
    elif kind == "after two layers":
        output = norm(L.Add()([conv(image), L.Conv2D(3, 3, padding="same")(image)]))
    elif kind == "two readers":
        made = conv(image)
        output = L.Add()([norm(made), made])
    else:
        output = norm(conv(image))
    model = busy(keras.Model(image, output))
    before = [w.copy() for w in model.get_weights()]
    fold_normalization(model)
    assert folded_scales(model) == [False]
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
