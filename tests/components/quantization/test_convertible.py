"""The form of a model whose `.tflite` takes batches of any size and keeps clustered kernels."""

import numpy as np
import pytest

from components.clustering.config import ClusterConfig
from components.clustering.core import cluster
from components.common.compressed import Compressed
from components.common.legacy_keras import keras
from components.common.tflite import TFLiteModel
from components.quantization.config import QuantizeConfig
from components.quantization.convertible import convertible
from components.quantization.core import convert, quantize
from components.shipped.description import described

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
    np.testing.assert_allclose(convertible(model)(IMAGES), model(IMAGES), atol=1e-5)
    np.testing.assert_allclose(TFLiteModel(convert(model, "float32")).scores(IMAGES), model(IMAGES), atol=1e-5)


def test_a_layer_that_is_called_twice_stays_one_layer():
    image = layers.Input((6, 6, 2))
    norm = layers.GroupNormalization(2)
    model = keras.Model(image, norm(layers.ReLU()(norm(image))))
    assert len(convertible(model).trainable_weights) == 2
    np.testing.assert_allclose(convertible(model)(IMAGES), model(IMAGES), atol=1e-5)


def test_the_model_is_unchanged_and_one_without_group_normalization_is_returned_as_it_is():
    model = normalizing()
    before = [w.copy() for w in model.get_weights()]
    assert convertible(model) is not model
    assert type(model.layers[1]) is layers.GroupNormalization
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    plain = keras.Sequential([layers.Input((6, 6, 2)), layers.Conv2D(3, 3)])
    assert convertible(plain) is plain


NORMS = {
    "batch": layers.BatchNormalization,
    "layer": layers.LayerNormalization,
    "groups": lambda **settings: layers.GroupNormalization(4, **settings),
}


@pytest.mark.parametrize("kind", NORMS)
def test_normalization_before_dense_layers_leaves_their_clusters_in_the_file(kind):
    """In a model of its own, before a nested one, and where the output is read by a layer that is none."""
    keras.utils.set_random_seed(0)
    norm = NORMS[kind](gamma_initializer="uniform", beta_initializer="normal")
    image = layers.Input((6, 6, 2))
    x = norm(layers.Dense(16, activation="relu")(layers.Flatten()(image)))
    y = keras.Sequential([layers.Dense(16, activation="relu")], name="nested")(layers.Dropout(0.5)(x))
    model = keras.Model(image, layers.Dense(3)(layers.Add()([x, y])))
    made = cluster(Compressed(model=model), ClusterConfig(clusters=6), None)
    made, content = quantize(made, QuantizeConfig(mode="float32"), None, None)
    assert max(k["clusters"] for k in described("r", "float32", made, content)["layers"]) == 6
    np.testing.assert_allclose(TFLiteModel(content).scores(IMAGES), made.model(IMAGES), atol=1e-5)


def test_without_clusters_the_converter_may_fold_normalization_forward():
    model = keras.Sequential(
        [layers.Input((4,)), layers.BatchNormalization(gamma_initializer="uniform"), layers.Dense(3)]
    )
    assert convertible(model) is model
    assert convertible(model, clustered=True) is not model
    model.layers[0].gamma.assign([1.0] * 4)  # nothing left to scale, as after folding
    assert convertible(model, clustered=True) is model
