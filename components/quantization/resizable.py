"""The same model in a form whose `.tflite` takes a batch of any size."""

import math

import tensorflow as tf

from components.common.legacy_keras import keras


def resizable(model: keras.Model) -> keras.Model:
    """`model`, or a copy with the same weights where it holds a GroupNormalization: Keras normalizes groups in five
    dimensions, for which TFLite has no broadcasting, and the converter then writes a batch of one into the file."""
    if not any(_is_grouped(layer) for layer in model._flatten_layers()):
        return model
    copy = _copied(model)
    copy.set_weights(model.get_weights())
    return copy


def _copied(layer: keras.layers.Layer) -> keras.layers.Layer:
    if isinstance(layer, keras.Model):
        return keras.models.clone_model(layer, clone_function=_copied)
    kind = _FlatGroupNormalization if _is_grouped(layer) else type(layer)
    return kind.from_config(layer.get_config())


def _is_grouped(layer: keras.layers.Layer) -> bool:
    return type(layer) is keras.layers.GroupNormalization and layer.axis in (-1, len(layer.input_shape) - 1)


class _FlatGroupNormalization(keras.layers.GroupNormalization):
    """GroupNormalization of the last axis in four dimensions: batch, positions, groups, channels of a group."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        *positions, channels = inputs.shape[1:]
        groups = tf.reshape(inputs, [-1, math.prod(positions), self.groups, channels // self.groups])
        centred = groups - tf.reduce_mean(groups, [1, 3], keepdims=True)
        normed = centred * tf.math.rsqrt(tf.reduce_mean(centred * centred, [1, 3], keepdims=True) + self.epsilon)
        outputs = tf.reshape(normed, [-1, *positions, channels])
        outputs = outputs * self.gamma if self.scale else outputs
        return outputs + self.beta if self.center else outputs
