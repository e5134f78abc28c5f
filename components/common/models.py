"""Saving and loading of Keras models inside a TFX Model artifact.

`model.keras` is what the stages work on; `Format-Serving` is a SavedModel that takes encoded images, which TFMA's
Evaluator reads; `model.tflite` is the float parent that variants are compared with.
"""

import os
from pathlib import Path

import tensorflow as tf

from components.common.examples import decode
from components.common.legacy_keras import keras
from components.dp_training import wavelet_features, whitening  # noqa: F401 - layers that saved models may hold

SERVING = "Format-Serving"  # the folder where TFX looks for the model to evaluate


def save_model(model: keras.Model, uri: str) -> None:
    """Writes `model.keras` under `uri`."""
    model.save(os.path.join(uri, "model.keras"))


def load_model(uri: str) -> keras.Model:
    """Reads what `save_model` wrote; not compiled."""
    return keras.models.load_model(Path(uri, "model.keras"), compile=False)


def save_serving(model: keras.Model, uri: str, shape: tuple[int, ...]) -> None:
    """Writes a SavedModel whose `serving_default` takes `image` (string [n], encoded) and returns `probabilities`
    (float32 [n, classes])."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image")])
    def serve(image):
        images = tf.map_fn(lambda e: decode(e, shape), image, fn_output_signature=tf.TensorSpec(shape, tf.uint8))
        logits = model(tf.cast(images, tf.float32) / 255.0, training=False)
        return {"probabilities": tf.nn.softmax(logits)}

    model.save(os.path.join(uri, SERVING), save_format="tf", signatures={"serving_default": serve})
