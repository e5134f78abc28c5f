"""How far a `.tflite` says what the Keras model said that it was converted from."""

import numpy as np
import tensorflow as tf

from components.common.legacy_keras import keras
from components.common.tflite import TFLiteModel


def agreement(model: keras.Model, file: bytes, inputs: list[np.ndarray]) -> dict[str, float]:
    """Compares scores on the same inputs.

    Args:
        model: what `file` was converted from.
        file: the `.tflite`.
        inputs: float32 [n, …] for each input of the model.

    Returns:
        `agreement`, the fraction of examples for which both have the same class, over all outputs, and
        `largest_difference` and `mean_difference` of scores, absolute, in logits.
    """
    expected = [s.numpy() for s in tf.nest.flatten(model(inputs, training=False))]
    found = TFLiteModel(file).outputs(dict(zip(model.input_names, inputs, strict=True)))
    pairs = [(found[name], scores) for name, scores in zip(model.output_names, expected, strict=True)]
    apart = np.concatenate([np.abs(a - b).ravel() for a, b in pairs])
    return {
        "agreement": float(np.mean([np.mean(a.argmax(-1) == b.argmax(-1)) for a, b in pairs])),
        "largest_difference": float(np.max(apart)),
        "mean_difference": float(np.mean(apart)),
    }
