"""What odd models are put together from. Layers compute in whatever precision Keras is set to, so that a loop in
float64 can be had from the same function."""

import tensorflow as tf

from components.common.legacy_keras import keras

L = keras.layers


class Doing(L.Layer):
    """A layer of an unknown class: `function` of the layer and its input; `make` gives it weights."""

    def __init__(self, function, make=None, **parts):
        super().__init__()
        self._function, self._make = function, make
        for name, part in parts.items():
            setattr(self, name, part)

    def build(self, input_shape):
        if self._make:
            self._make(self, input_shape)
        super().build(input_shape)

    def call(self, inputs):
        return self._function(self, inputs)


def weight(name, shape, trainable=True, initializer="zeros", dtype=None):
    def make(layer, input_shape):
        own = (input_shape[-1], input_shape[-1]) if shape == "square" else shape
        setattr(layer, name, layer.add_weight(name, own, dtype, initializer, trainable=trainable))

    return make


def chain(*layers, shape=(4,), head=None):
    """Layers by functions that make them, then a classifier."""

    def build():
        last = [L.Flatten(), head() if head else L.Dense(3)]
        return keras.Sequential([L.InputLayer(shape), *(layer() for layer in layers), *last])

    return build


def lam(function):
    return lambda: L.Lambda(function)


def centred(t):
    return t - tf.reduce_mean(t, 0)


def zero_head():
    return L.Dense(3, kernel_initializer="zeros")
