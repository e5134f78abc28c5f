"""The same model in a form that TFLite's converter takes as it is meant."""

import functools
import math

import numpy as np
import tensorflow as tf

from components.common.folding import scale_of
from components.common.legacy_keras import keras

_LAYERS = keras.layers


def convertible(model: keras.Model, clustered: bool = False) -> keras.Model:
    """`model`, or a copy with the same weights where the converter would make something else of it.

    Keras normalizes groups in five dimensions, for which TFLite has no broadcasting: the converter then writes a batch
    of one into the file. And it multiplies the scale of a normalization into the Dense kernel behind it, channel by
    channel, which leaves a kernel that is `clustered` with as many values as weights: a reshape between the two, which
    changes nothing, keeps them apart.
    """
    if all(_form_of(layer, clustered) is type(layer) for layer in model._flatten_layers()):
        return model
    copy = _copied(model, clustered)
    copy.set_weights(model.get_weights())
    return copy


def _copied(layer: keras.layers.Layer, clustered: bool) -> keras.layers.Layer:
    if isinstance(layer, keras.Model):
        copied = functools.partial(_copied, clustered=clustered)
        return keras.models.clone_model(layer, clone_function=copied)
    return _form_of(layer, clustered).from_config(layer.get_config())


def _form_of(layer: keras.layers.Layer, clustered: bool) -> type:
    """The type that takes a layer's place in the copy."""
    kind = type(layer)
    if kind is _LAYERS.GroupNormalization and layer.axis in (-1, len(layer.input_shape) - 1):
        return _FlatGroupNormalization
    scales = kind is _LAYERS.LayerNormalization or (kind is _LAYERS.BatchNormalization and np.ptp(scale_of(layer)) > 0)
    return _APART[kind] if clustered and scales and len(layer.input_shape) == 2 else kind


class _FlatGroupNormalization(_LAYERS.GroupNormalization):
    """GroupNormalization of the last axis in four dimensions: batch, positions, groups, channels of a group."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        *positions, channels = inputs.shape[1:]
        grouped = [self.groups, channels // self.groups]
        groups = tf.reshape(inputs, [-1, math.prod(positions), *grouped])
        centred = groups - tf.reduce_mean(groups, [1, 3], keepdims=True)
        normed = centred * tf.math.rsqrt(tf.reduce_mean(centred * centred, [1, 3], keepdims=True) + self.epsilon)
        normed = normed * tf.reshape(self.gamma, grouped) if self.scale else normed
        normed = normed + tf.reshape(self.beta, grouped) if self.center else normed
        return tf.reshape(normed, [-1, *positions, channels])


class _BatchNormalizationApart(_LAYERS.BatchNormalization):
    def call(self, inputs: tf.Tensor, training=None, mask=None) -> tf.Tensor:
        return tf.reshape(super().call(inputs, training=training), [-1, inputs.shape[-1]])


class _LayerNormalizationApart(_LAYERS.LayerNormalization):
    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.reshape(super().call(inputs), [-1, inputs.shape[-1]])


_APART = {
    _LAYERS.BatchNormalization: _BatchNormalizationApart,
    _LAYERS.LayerNormalization: _LayerNormalizationApart,
}
