"""Depthwise kernels of one scale, and biases of layers that are called twice: what TFLite computed wrongly."""

import numpy as np
import pytest

from components.common.legacy_keras import keras
from components.common.tflite import TFLiteModel
from components.quantization.core import convert
from components.shipped.reading import read

layers = keras.layers


@pytest.mark.parametrize("per_channel", [True, False])
def test_a_dynamic_file_scores_as_keras_does_every_time(per_channel):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [layers.Input((6, 6, 8)), layers.DepthwiseConv2D(3, depth_multiplier=16), layers.Flatten(), layers.Dense(4)]
    )
    images = np.random.default_rng(0).random((8, 6, 6, 8), np.float32)
    content, expected = convert(model, "dynamic", per_channel=per_channel), model(images).numpy()
    depthwise = read(content).weights[0]
    assert (depthwise.dtype, len(depthwise.scales), depthwise.scale_axis) == ("int8", 128, 3)
    assert per_channel or len(np.unique(depthwise.scales)) == 1
    for _ in range(3):
        np.testing.assert_allclose(TFLiteModel(content).scores(images), expected, atol=0.02 * np.std(expected) + 0.02)


@pytest.mark.parametrize(
    ("shape", "layer"), [((6, 6, 4), lambda: layers.Conv2D(4, 3, padding="same")), ((4,), lambda: layers.Dense(4))]
)
def test_a_layer_that_is_called_twice_has_its_bias_in_the_scale_of_either_call(shape, layer):
    keras.utils.set_random_seed(0)
    image, again = layers.Input(shape), layer()
    model = keras.Model(image, again(layers.Rescaling(20.0)(again(image))))
    again.bias.assign([3.0, -2.0, 1.0, -4.0])
    images = np.random.default_rng(0).random((64, *shape), np.float32)
    expected = model(images).numpy()
    found = TFLiteModel(convert(model, "int16x8", images)).scores(images)
    assert np.max(np.abs(found - expected)) < 0.02 * np.std(expected)


def test_a_depthwise_kernel_between_integers_keeps_its_one_scale():
    model = keras.Sequential([layers.Input((6, 6, 8)), layers.DepthwiseConv2D(3), layers.Flatten(), layers.Dense(4)])
    images = np.random.default_rng(0).random((8, 6, 6, 8), np.float32)
    assert len(read(convert(model, "int8", images, per_channel=False)).weights[0].scales) == 1
