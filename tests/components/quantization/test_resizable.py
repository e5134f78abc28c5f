"""The form of a model whose `.tflite` takes batches of any size."""

import numpy as np
import pytest

from components.common.legacy_keras import keras
from components.common.tflite import TFLiteModel
from components.quantization.core import convert
from components.quantization.resizable import resizable

layers = keras.layers
IMAGES = np.random.default_rng(0).random((5, 6, 6, 2), np.float32)


def normalizing(*, nested: bool = False, **settings) -> keras.Model:
    keras.utils.set_random_seed(0)
    norm = layers.GroupNormalization(4, beta_initializer="normal", gamma_initializer="normal", **settings)
    inner = keras.Sequential([layers.Conv2D(8, 3), norm]) if nested else norm
    before = [] if nested else [layers.Conv2D(8, 3)]
    return keras.Sequential([layers.Input((6, 6, 2)), *before, inner, layers.Flatten(), layers.Dense(3)])


@pytest.mark.parametrize(
    "settings",
    [{}, {"axis": 3}, {"scale": False}, {"center": False}, {"epsilon": 0.5}, {"nested": True}],
    ids=lambda settings: str(settings),
)
def test_group_normalization_scores_the_same_in_batches_of_any_size(settings):
    model = normalizing(**settings)
    np.testing.assert_allclose(resizable(model)(IMAGES), model(IMAGES), atol=1e-5)
    np.testing.assert_allclose(TFLiteModel(convert(model, "float32")).scores(IMAGES), model(IMAGES), atol=1e-5)


def test_a_layer_that_is_called_twice_stays_one_layer():
    image = layers.Input((6, 6, 2))
    norm = layers.GroupNormalization(2)
    model = keras.Model(image, norm(layers.ReLU()(norm(image))))
    assert len(resizable(model).trainable_weights) == 2
    np.testing.assert_allclose(resizable(model)(IMAGES), model(IMAGES), atol=1e-5)


def test_the_model_is_unchanged_and_one_without_group_normalization_is_returned_as_it_is():
    model = normalizing()
    before = [w.copy() for w in model.get_weights()]
    assert resizable(model) is not model
    assert type(model.layers[1]) is layers.GroupNormalization
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    plain = keras.Sequential([layers.Input((6, 6, 2)), layers.Conv2D(3, 3)])
    assert resizable(plain) is plain
