"""The scattering layer against kymatio, an independent implementation, and as a `.tflite`."""

import numpy as np
import pytest
import tensorflow as tf
from kymatio.numpy import Scattering2D as Reference

from components.common.errors import ModelError
from components.common.legacy_keras import keras
from components.common.tflite import TFLiteModel
from components.dp_training.scattering import Scattering2D
from components.dp_training.synthetic import random_images
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


def test_full_int8_is_refused_since_tflite_has_no_int8_square_root():
    model = keras.Sequential([keras.layers.Input((28, 28, 1)), Scattering2D()])
    with pytest.raises(ModelError, match="must convert to int8"):
        convert(model, "int8", random_images(40, (28, 28, 1)))


@pytest.mark.parametrize(("mode", "tolerance"), [("float32", 1e-5), ("float16", 1e-3), ("dynamic", 0.02)])
def test_converts_to_tflite_builtins(mode, tolerance):
    model = keras.Sequential([keras.layers.Input((28, 28, 1)), Scattering2D()])
    images = random_images(40, (28, 28, 1))
    converted = TFLiteModel(convert(model, mode, images))
    assert np.abs(converted.scores(images) - model(images)).mean() < tolerance
    correlation = np.corrcoef(converted.scores(images).ravel(), model(images).numpy().ravel())[0, 1]
    assert correlation > 0.99


@pytest.mark.parametrize("argument", [{"scales": 0}, {"angles": 0}, {"max_order": 3}])
def test_refuses_what_it_cannot_do(argument):
    with pytest.raises(ValueError, match=next(iter(argument))):
        Scattering2D(**argument)


def test_refuses_images_smaller_than_the_average():
    with pytest.raises(ValueError, match="at least 8 pixels"):
        Scattering2D(3)(np.zeros((1, 7, 9, 1), np.float32))
