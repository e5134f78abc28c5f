"""What TFLite's converter is given of a model: its function in inference, and nothing else.

A Keras model that saves itself traces each of its layers several times, which takes most of a conversion. And the
converter makes something else of some layers than what they compute, so that these are traced in another form. Keras
normalizes groups in five dimensions, for which TFLite has no broadcasting: the converter writes a batch of one into the
file. And it multiplies the scale of a normalization into the Dense kernel behind it, so that a clustered kernel has as
many values as weights: a reshape between the two, which changes nothing, keeps them apart.
"""

import contextlib
import functools
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from components.common.calls import leaves, replaced_call
from components.common.folding import scale_of
from components.common.legacy_keras import keras

_LAYERS = keras.layers


def save_traced(model: keras.Model, folder: str, clustered: bool) -> None:
    """Writes a SavedModel whose only signature takes and gives what `model` does, by the same names.

    Args:
        model: unchanged.
        folder: that is to hold it.
        clustered: whether kernels hold few distinct values, which the file is to keep.
    """
    taken = [tf.TensorSpec(t.shape, t.dtype, name) for t, name in zip(model.inputs, model.input_names, strict=True)]

    @tf.function(autograph=False, input_signature=taken)
    def scores(*inputs):
        found = model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)
        return dict(zip(model.output_names, tf.nest.flatten(found), strict=True))

    with contextlib.ExitStack() as stack:
        for layer in leaves(model):
            if call := _call_of(layer, clustered):
                stack.enter_context(replaced_call(layer, call))
        traced = scores.get_concrete_function()
    saved = tf.Module()
    saved.weights = model.weights
    tf.saved_model.save(saved, folder, signatures=traced)


def _call_of(layer: keras.layers.Layer, clustered: bool) -> Callable | None:
    """What takes the place of a layer's call, None where it can stay."""
    kind = type(layer)
    if kind is _LAYERS.GroupNormalization and layer.axis in (-1, len(layer.input_shape) - 1):
        return functools.partial(_normalized_groups, layer)
    scales = kind is _LAYERS.LayerNormalization or (kind is _LAYERS.BatchNormalization and np.ptp(scale_of(layer)) > 0)
    return functools.partial(_reshaped, layer.call) if clustered and scales and len(layer.input_shape) == 2 else None


def _normalized_groups(layer: keras.layers.GroupNormalization, inputs: tf.Tensor) -> tf.Tensor:
    """The same in four dimensions: batch, positions, groups, channels of a group."""
    *positions, channels = inputs.shape[1:]
    grouped = [layer.groups, channels // layer.groups]
    groups = tf.reshape(inputs, [-1, math.prod(positions), *grouped])
    centred = groups - tf.reduce_mean(groups, [1, 3], keepdims=True)
    normed = centred * tf.math.rsqrt(tf.reduce_mean(centred * centred, [1, 3], keepdims=True) + layer.epsilon)
    normed = normed * tf.reshape(layer.gamma, grouped) if layer.scale else normed
    normed = normed + tf.reshape(layer.beta, grouped) if layer.center else normed
    return tf.reshape(normed, [-1, *positions, channels])


def _reshaped(call: Callable, inputs: tf.Tensor, **settings) -> tf.Tensor:
    return tf.reshape(call(inputs, **settings), [-1, inputs.shape[-1]])
