"""Conversion of a Keras model to the `.tflite` that ships, by TFLite's converter."""

import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert import ConverterError

from components.common.errors import ModelError
from components.common.legacy_keras import keras
from components.quantization.resizable import resizable


def convert(model: keras.Model, mode: str, calibration: np.ndarray | list[np.ndarray] | None = None) -> bytes:
    """Converts a model.

    Args:
        model: takes float32 images in [0, 1], returns logits.
        mode: one of `QuantizeConfig.mode`.
        calibration: float32 images [n, height, width, channels] of the public split that set the ranges of
            activations; needed for int8, and only there. Where the model has several inputs, a list of arrays [n, …],
            one an input.

    Returns:
        The bytes of the `.tflite`. In mode int8 its input and output are int8 too.

    Raises:
        ModelError: the weights are not finite, the calibration set is missing, empty or of another shape than the
            inputs, the converter refuses, or it left a tensor in floating point although int8 was asked for.
    """
    if not all(np.all(np.isfinite(w)) for w in model.get_weights()):
        raise ModelError(f"model {model.name} must have finite weights. Received: NaN or infinity")
    converter = tf.lite.TFLiteConverter.from_keras_model(resizable(model))
    if mode != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if mode == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if mode == "int8":
        _use_int8(converter, model, calibration)
    try:
        content = converter.convert()
    except (ValueError, RuntimeError, ConverterError) as error:
        reason = (str(error).splitlines() or ["nothing"])[0]
        raise ModelError(f"model {model.name} must convert to {mode}. TFLite says: {reason}") from error
    if mode == "int8":
        _require_no_floats(content, model.name)
    return content


def _use_int8(converter: tf.lite.TFLiteConverter, model: keras.Model, calibration) -> None:
    arrays = calibration if isinstance(calibration, list) else [calibration]
    if calibration is None or not all(len(array) for array in arrays):
        raise ModelError("int8 must be calibrated on at least one public image. Received: none")
    found, wanted = [array.shape for array in arrays], [tuple(taken.shape) for taken in model.inputs]
    fit = [tf.TensorShape(w).is_compatible_with(f) for f, w in zip(found, wanted, strict=False)]
    if len(found) != len(wanted) or not all(fit) or len({len(array) for array in arrays}) > 1:
        raise ModelError(f"calibration must fit the inputs {wanted} of model {model.name}. Received: {found}")
    named = list(zip(model.input_names, arrays, strict=True))  # TFLite has an order of its own
    examples = range(len(arrays[0]))
    converter.representative_dataset = lambda: ({name: array[i : i + 1] for name, array in named} for i in examples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8


def _require_no_floats(content: bytes, name: str) -> None:
    """The converter keeps an operation that has no int8 kernel in floating point without a word: read it back."""
    details = tf.lite.Interpreter(model_content=content).get_tensor_details()
    floats = [d["name"] for d in details if np.issubdtype(d["dtype"], np.floating)]
    if floats:
        raise ModelError(f"model {name} must convert to int8. {len(floats)} tensors stay float, such as {floats[0]}")
