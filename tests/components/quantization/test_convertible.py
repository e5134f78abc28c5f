"""The form in which a model is converted: its `.tflite` takes batches of any size and keeps clustered kernels."""

import numpy as np
import pytest
import tensorflow as tf

from components.clustering.config import ClusterConfig
from components.clustering.core import cluster
from components.common.compressed import Compressed
from components.common.legacy_keras import keras
from components.common.tflite import TFLiteModel
from components.quantization.config import QuantizeConfig
from components.quantization.core import convert, quantize
from components.shipped.description import described
from components.shipped.flatbuffer import packed, unpacked
from components.shipped.reading import read
from components.shipped.stripping import strip

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
    np.testing.assert_allclose(TFLiteModel(convert(model, "float32")).scores(IMAGES), model(IMAGES), atol=1e-5)


def test_a_layer_that_is_called_twice_is_converted_once():
    image = layers.Input((6, 6, 2))
    norm = layers.GroupNormalization(2, gamma_initializer="normal")
    model = keras.Model(image, norm(layers.ReLU()(norm(layers.Conv2D(4, 3)(image)))))
    content = convert(model, "float32")
    np.testing.assert_allclose(TFLiteModel(content).scores(IMAGES), model(IMAGES), atol=1e-5)


def test_the_model_is_unchanged():
    model = normalizing()
    before, scores = [w.copy() for w in model.get_weights()], model(IMAGES).numpy()
    convert(model, "float32", clustered=True)
    assert not any("call" in vars(layer) for layer in model.layers)
    for now, then in zip([*model.get_weights(), model(IMAGES)], [*before, scores], strict=True):
        np.testing.assert_array_equal(now, then)


def test_it_is_the_file_that_tflite_makes_of_a_keras_model():
    keras.utils.set_random_seed(0)
    image, other = layers.Input((6, 6, 2), name="b"), layers.Input((5,), name="a")
    x = layers.Concatenate()([layers.Flatten()(layers.Conv2D(8, 3, activation="relu")(image)), other])
    model = keras.Model([image, other], [layers.Dense(3, name="d")(x), layers.Dense(2, name="c")(x)])
    from_keras = unpacked(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    strip(from_keras)
    assert convert(model, "float32") == packed(from_keras)


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


def test_the_converter_folds_normalization_forward_where_nothing_is_clustered_or_nothing_is_scaled():
    norm = layers.BatchNormalization(gamma_initializer="uniform", beta_initializer="normal")
    model = keras.Sequential([layers.Input((4,)), norm, layers.Dense(3, bias_initializer="normal")])

    def operators(clustered: bool) -> list[str]:
        return [operator.code for operator in read(convert(model, "float32", clustered=clustered)).operators]

    assert operators(clustered=False) == ["FULLY_CONNECTED"]
    assert operators(clustered=True) == ["MUL", "ADD", "RESHAPE", "FULLY_CONNECTED"]
    norm.gamma.assign([1.0] * 4)  # as after it was folded into the layer before
    assert operators(clustered=True) == ["FULLY_CONNECTED"]
