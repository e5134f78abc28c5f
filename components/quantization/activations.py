"""Activations in training as int8 will see them: rounded to 256 values in a range that public images set.

TFMOT's quantize_apply does the same by wrappers, but refuses nested models, shared layers, normalization by groups and
layers that it does not know; here a layer's call is replaced while the model trains.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from components.common.calls import leaves, replaced_call
from components.common.legacy_keras import keras

_LAYERS = keras.layers
_MOVING = (  # these only move values, so that their output has the scale of their input
    *(_LAYERS.Flatten, _LAYERS.Reshape, _LAYERS.Permute, _LAYERS.Dropout, _LAYERS.InputLayer),
    *(_LAYERS.MaxPooling1D, _LAYERS.MaxPooling2D, _LAYERS.GlobalMaxPooling2D),
    *(_LAYERS.ZeroPadding1D, _LAYERS.ZeroPadding2D, _LAYERS.Cropping2D, _LAYERS.UpSampling2D),
)
_BATCH = 100


@contextlib.contextmanager
def quantized_activations(model: keras.Model, inputs: Any) -> Iterator[None]:
    """While it is open, what the layers of `model` put out is rounded as in an int8 `.tflite`.

    Layers whose output TFLite fuses into the next one (a convolution before normalization or ReLU) are left out. What
    happens inside a layer that is made of others is not emulated, only what it puts out.

    Args:
        inputs: float32 [n, …] for each input of the model (an array, or a list of them); they set the ranges.
    """
    layers = [layer for layer in leaves(model) if not isinstance(layer, _MOVING) and not _is_fused(layer)]
    ranges = _ranges(model, layers, inputs)
    with contextlib.ExitStack() as stack:
        for layer in layers:
            if layer in ranges:
                stack.enter_context(replaced_call(layer, _rounding(layer.call, *ranges[layer])))
        yield


def _is_fused(layer: keras.layers.Layer) -> bool:
    consumers = [node.layer for node in layer.outbound_nodes]
    return bool(consumers) and all(
        isinstance(c, (_LAYERS.BatchNormalization, _LAYERS.ReLU))
        or (isinstance(c, _LAYERS.Activation) and c.activation is keras.activations.relu)
        for c in consumers
    )


def _ranges(model: keras.Model, layers: list, inputs: Any) -> dict[keras.layers.Layer, tuple[float, float]]:
    """The smallest and largest value that each layer puts out, zero included; layers that put out no floats are left
    out."""
    seen: dict[Any, tuple[float, float]] = {}
    arrays = tf.nest.map_structure(np.asarray, inputs)
    count = len(tf.nest.flatten(arrays)[0])
    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.enter_context(replaced_call(layer, _observing(layer, layer.call, seen)))
        for start in range(0, count, _BATCH):
            chosen = slice(start, start + _BATCH)
            model(tf.nest.map_structure(lambda a, s=chosen: tf.constant(a[s]), arrays), training=False)
    return seen


def _observing(layer, call: Callable, seen: dict) -> Callable:
    def observing(*args, **kwargs):
        outputs = call(*args, **kwargs)
        floats = [o for o in tf.nest.flatten(outputs) if o.dtype == tf.float32]
        if floats:
            low, high = seen.get(layer, (0.0, 0.0))
            lows, highs = [float(tf.reduce_min(o)) for o in floats], [float(tf.reduce_max(o)) for o in floats]
            seen[layer] = (min(low, *lows), max(high, *highs))
        return outputs

    return observing


def _rounding(call: Callable, low: float, high: float) -> Callable:
    def rounding(*args, **kwargs):
        return tf.nest.map_structure(lambda o: _rounded(o, low, high), call(*args, **kwargs))

    return rounding


def _rounded(output: tf.Tensor, low: float, high: float) -> tf.Tensor:
    if output.dtype != tf.float32 or low == high:
        return output
    return tf.quantization.fake_quant_with_min_max_args(output, low, high)
