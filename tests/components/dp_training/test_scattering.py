"""The scattering layer against kymatio, an independent implementation, and as a `.tflite`."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from components.common.legacy_keras import keras
from components.common.tflite import TFLiteModel
from components.dp_training.scattering import Scattering2D
from components.dp_training.synthetic import random_images
from components.dp_training.wavelet_features import WaveletFeatures
from components.quantization.core import convert

CASES = {
    "28x28x1, J 2": ((28, 28, 1), 2, 8, 2),
    "28x28x1, J 2, first order": ((28, 28, 1), 2, 8, 1),
    "one scale": ((28, 28, 1), 1, 8, 2),
    "three scales": ((32, 32, 1), 3, 8, 2),
    "colour": ((32, 32, 3), 2, 8, 2),
    "odd sizes, six angles": ((33, 22, 3), 2, 6, 2),
    "smaller than the filters": ((12, 9, 1), 2, 4, 2),
}


if not hasattr(scipy.special, "sph_harm"):  # kymatio 0.3 imports it for its transform in 3D; newer scipy has it no more
    scipy.special.sph_harm = None
from kymatio.numpy import Scattering2D as Reference  # noqa: E402


def reference(images, scales, angles, order):
    """kymatio's coefficients of images [n, h, w, c], in this layer's layout."""
    transform = Reference(J=scales, shape=images.shape[1:3], L=angles, max_order=order)
    paths = transform(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return paths.transpose(0, 3, 4, 1, 2).reshape(len(images), *paths.shape[3:], -1)


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_kymatio_at_every_pixel_border_included(case):
    shape, *arguments = CASES[case]
    images = np.random.default_rng(0).random((3, *shape), np.float32)
    found, expected = Scattering2D(*arguments)(images).numpy(), reference(images, *arguments)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_nothing_is_trained_and_the_config_round_trips(tmp_path):
    model = keras.Sequential([keras.layers.Input((20, 16, 1)), Scattering2D(2, 4)])
    assert not model.trainable_variables
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    images = random_images(4, (20, 16, 1))
    np.testing.assert_array_equal(loaded(images), model(images))


def test_examples_do_not_mix():
    layer, images = Scattering2D(), random_images(5, (28, 28, 3))
    np.testing.assert_allclose(layer(images)[2:3], layer(images[2:3]), atol=1e-6)


def test_black_images_have_finite_gradients():
    images = tf.Variable(tf.zeros((1, 16, 16, 1)))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(Scattering2D(2, 4)(images))
    assert np.isfinite(tape.gradient(total, images)).all()


def test_polygons_err_by_half_a_percent():
    images = random_images(20, (28, 28, 1))
    exact, polygonal = Scattering2D()(images).numpy(), Scattering2D(corners=4)(images).numpy()
    np.testing.assert_allclose(polygonal, exact, rtol=0.01, atol=1e-4)
    assert 0 < np.abs(polygonal - exact).max() < 0.005


@pytest.mark.parametrize("corners", [0, 4])
def test_converts_to_a_float_tflite_of_builtins(corners):
    model = keras.Sequential([keras.layers.Input((28, 28, 1)), Scattering2D(corners=corners)])
    images = random_images(20, (28, 28, 1))
    converted = TFLiteModel(convert(model, "float32"))
    np.testing.assert_allclose(converted.scores(images), model(images), atol=1e-5)


def test_converts_to_int8_where_moduli_are_polygons():
    model = keras.Sequential([keras.layers.Input((28, 28, 1)), WaveletFeatures(corners=4)])
    images = random_images(40, (28, 28, 1))
    model.get_layer(index=-1).adapt(images)
    found, expected = TFLiteModel(convert(model, "int8", images)).scores(images), model(images).numpy()
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.2 * expected.std()
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("argument", [{"scales": 0}, {"angles": 0}, {"max_order": 3}, {"corners": 1}])
def test_refuses_what_it_cannot_do(argument):
    with pytest.raises(ValueError, match=next(iter(argument))):
        Scattering2D(**argument)


def test_refuses_images_smaller_than_the_average():
    with pytest.raises(ValueError, match="at least 9 pixels"):
        Scattering2D(3)(np.zeros((1, 8, 9, 1), np.float32))
