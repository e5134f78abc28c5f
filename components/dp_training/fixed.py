"""Layers at a model's start that are not trained: what they make of an example is computed once, not at every step."""

import itertools
from collections.abc import Iterable, Iterator

import tensorflow as tf

from components.common.examples import Split
from components.common.legacy_keras import keras
from components.dp_training.wavelet_features import WaveletFeatures


def without_fixed_layers(model: keras.Model) -> tuple[keras.Model | None, keras.Model]:
    """Splits a model into what is fixed and what is trained. A gradient does not see the difference.

    Only a Sequential that starts with fixed layers, one of them dear (`WaveletFeatures`), is split, since features take
    more room than images.

    Returns:
        A model of the fixed layers, None where it is not worth it, and a model of the others; both share their layers
        with `model`.
    """
    layers = model.layers if isinstance(model, keras.Sequential) else []
    fixed = list(itertools.takewhile(lambda layer: not layer.trainable_weights, layers))
    if not any(isinstance(layer, WaveletFeatures) for layer in fixed):
        return None, model
    front = keras.Sequential([keras.layers.Input(model.input_shape[1:]), *fixed])
    return front, keras.Sequential([keras.layers.Input(front.output_shape[1:]), *layers[len(fixed) :]])


def features_of(front: keras.Model, pieces: Iterable[Split]) -> Iterator[Split]:
    """What the fixed layers make of examples, example by example: float32 features in place of images."""
    transform = tf.function(lambda images: front(scaled(images), training=False), reduce_retracing=True)
    for piece in pieces:
        yield Split(images=transform(tf.constant(piece.images)).numpy(), labels=piece.labels)


def scaled(images: tf.Tensor) -> tf.Tensor:
    """Images from uint8 to float32 in [0, 1]; features, which are float32 already, as they are."""
    return tf.cast(images, tf.float32) / 255.0 if images.dtype == tf.uint8 else images
