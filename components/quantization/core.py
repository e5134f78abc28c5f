"""Quantization and conversion to the `.tflite` that ships, by TFLite's converter."""

import contextlib
import tempfile
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert import ConverterError

from components.common.compressed import Compressed, Tune, held
from components.common.errors import ModelError
from components.common.kernels import copy_of, depthwise_kernels, kernels, require_finite
from components.common.legacy_keras import keras
from components.common.projections import Int8Grid
from components.quantization.activations import quantized_activations
from components.quantization.config import CALIBRATED, QuantizeConfig
from components.quantization.convertible import save_traced
from components.quantization.mending import mend
from components.shipped.flatbuffer import packed, unpacked
from components.shipped.stripping import strip

_SMALL = 1024  # weights below which TFLite's dynamic range quantization leaves a tensor in floating point
_INT16X8 = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8


def quantize(made: Compressed, config: QuantizeConfig, calibration: Any, tune: Tune | None) -> tuple[Compressed, bytes]:
    """Quantizes and converts a model; zeros and centroids of the stages before are held.

    Args:
        made: the model, unchanged.
        config: how.
        calibration: float32 inputs of the public split, [n, …] for each input of the model; None where `config.mode`
            needs none.
        tune: trains a model while its weights are held to what int8 can tell apart and, where there is a calibration,
            its activations are too (Jacob et al. 2018, arXiv:1712.05877, section 3); None for quantization after
            training.

    Returns:
        The model whose weights went into the file, and the bytes of the `.tflite`.

    Raises:
        ModelError: see `convert`.
    """
    model, per_channel = made.model, config.per_channel and not _is_misread(made, config)
    if tune is not None:
        model = copy_of(model)
        grids = _grids(model, config.mode, per_channel), _depthwise(model, config.mode, per_channel)
        holding = held(model, made.promises, *grids)
        rounding = calibration is not None and config.mode == "int8" and config.private is None
        with quantized_activations(model, calibration) if rounding else contextlib.nullcontext():
            tune(model, holding)
        holding.settle()
    content = convert(model, config.mode, calibration, per_channel=per_channel, clustered=made.clustered)
    return made.after("quantize", model, made.promises), content


def _is_misread(made: Compressed, config: QuantizeConfig) -> bool:
    """Whether TFLite would compute the file wrongly: in mode dynamic its convolution takes the path of one scale where
    all channels happen to have the same one, as those of a clustered kernel do, but rounds activations for the other
    path (`EvalHybridPerChannel` in its conv.cc)."""
    return config.mode == "dynamic" and made.clustered


def _grids(model: keras.Model, mode: str, per_channel: bool) -> dict[str, list[Int8Grid]]:
    """What the converter stores of each kernel: one scale of a Dense one, small ones in floating point if dynamic."""
    grids = {}
    for name, kernel in kernels(model).items():
        shape = kernel.variable.shape
        if mode == "dynamic" and shape.num_elements() < _SMALL:
            continue
        scaled = per_channel and not isinstance(kernel.layer, keras.layers.Dense)
        grids[name] = [Int8Grid(len(shape), *([kernel.channel_axis] if scaled else []))]
    return grids


def _depthwise(model: keras.Model, mode: str, per_channel: bool) -> list[tuple[tf.Variable, list[Int8Grid]]]:
    """The same of depthwise kernels, whose channels lie on two axes; mode dynamic leaves small ones as they are."""
    axes = (-2, -1) if per_channel else ()
    ranks = [(kernel, len(kernel.shape)) for kernel in depthwise_kernels(model) if mode in CALIBRATED]
    return [(kernel, [Int8Grid(rank, *(rank + axis for axis in axes))]) for kernel, rank in ranks]


def convert(
    model: keras.Model, mode: str, calibration: Any = None, *, per_channel: bool = True, clustered: bool = False
) -> bytes:
    """Converts a model.

    Args:
        model: takes float32, returns logits.
        mode: one of `QuantizeConfig.mode`.
        calibration: float32 inputs of the public split, [n, …] for each input of the model, that set the ranges of
            activations; needed for int8 and int16x8, and only there.
        per_channel: see `QuantizeConfig`.
        clustered: whether kernels hold few distinct values, which the file is to keep.

    Returns:
        The bytes of the `.tflite`, without names of inner tensors. In mode int8 its inputs and outputs are int8 too, in
        int16x8 they are int16.

    Raises:
        ModelError: the weights are not finite, the calibration set is missing, empty, all zeros or of another shape
            than the model's inputs, the converter refuses, or it left a tensor in floating point where integers were
            asked for.
    """
    require_finite(model)
    examples = _calibration_for(model, mode, calibration) if mode in CALIBRATED else []
    with tempfile.TemporaryDirectory() as folder:
        save_traced(model, folder, clustered)
        converter = _converter(folder, mode, per_channel)
        if mode in CALIBRATED:
            _use_integers(converter, mode, model.input_names, examples)
        try:
            content = converter.convert()
        except (ValueError, RuntimeError, ConverterError) as error:
            reason = (str(error).splitlines() or ["nothing"])[0]
            raise ModelError(f"model {model.name} must convert to {mode}. TFLite says: {reason}") from error
    if mode in CALIBRATED:
        _require_no_floats(content, model.name, mode)
    written = unpacked(content)
    mend(written)
    strip(written)
    return packed(written)


def _converter(folder: str, mode: str, per_channel: bool) -> tf.lite.TFLiteConverter:
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    converter._experimental_disable_per_channel = not per_channel
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True  # TF 2.16 knows no other way
    if mode != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if mode == "float16":
        converter.target_spec.supported_types = [tf.float16]
    return converter


def _calibration_for(model: keras.Model, mode: str, calibration: Any) -> list[np.ndarray]:
    arrays = [] if calibration is None else [np.asarray(a, np.float32) for a in tf.nest.flatten(calibration)]
    if not arrays or not all(len(a) for a in arrays):
        raise ModelError(f"{mode} must be calibrated on at least one public example. Received: none")
    wanted, given = [tuple(i.shape) for i in model.inputs], [a.shape for a in arrays]
    if [g[1:] for g in given] != [w[1:] for w in wanted] or len({len(a) for a in arrays}) > 1:
        raise ModelError(f"calibration must fit the inputs {wanted} of model {model.name}. Received: {given}")
    if not all(np.all(np.isfinite(a)) for a in arrays):
        raise ModelError("calibration must be finite. Received: NaN or infinity")
    if not all(np.any(a) for a in arrays):
        raise ModelError("calibration must set a range for every input. Received: zeros only")
    return arrays


def _use_integers(converter: tf.lite.TFLiteConverter, mode: str, names: list[str], arrays: list[np.ndarray]) -> None:
    int8, named = mode == "int8", list(zip(names, arrays, strict=True))  # TFLite has an order of its own
    converter.representative_dataset = lambda: ({n: a[i : i + 1] for n, a in named} for i in range(len(arrays[0])))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8 if int8 else _INT16X8]
    converter.inference_input_type = converter.inference_output_type = tf.int8 if int8 else tf.int16


def _require_no_floats(content: bytes, name: str, mode: str) -> None:
    """The converter keeps an operation that has no integer kernel in floating point without a word: read it back."""
    details = tf.lite.Interpreter(model_content=content).get_tensor_details()
    floats = [d["name"] for d in details if np.issubdtype(d["dtype"], np.floating)]
    if floats:
        raise ModelError(f"model {name} must convert to {mode}. {len(floats)} tensors stay float, such as {floats[0]}")
