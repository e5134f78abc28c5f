"""Models that keep state or print what they see: refused."""

import tensorflow as tf

from components.common.legacy_keras import keras
from tests.components.dp_training.per_example.odd.parts import Doing, chain, lam, weight

L = keras.layers


def assigning(value):
    """A layer that assigns something to a variable that is not trained."""

    def function(own, t):
        own.seen.assign(tf.cast(value(t), own.seen.dtype))
        return t

    return lambda: Doing(function, weight("seen", (), trainable=False))


def counting(own, t):
    own.seen.assign_add(1)
    return t * (1 + tf.cast(own.seen, t.dtype))


def assigning_backward(own, t):
    @tf.custom_gradient
    def same(t):
        def back(g):
            own.seen.assign(tf.cast(tf.reduce_mean(g), own.seen.dtype))
            return g

        return tf.identity(t), back

    return same(t)


def in_a_function(own, t):
    @tf.function
    def inner(t):
        own.seen.assign_add(tf.cast(tf.reduce_sum(t), own.seen.dtype))
        return t

    return inner(t)


def in_a_condition(own, t):
    def assigned():
        own.seen.assign_add(1.0)
        return t

    return tf.cond(tf.reduce_mean(t) > 0.5, assigned, lambda: t)


def measured(own, t):
    own.add_metric(tf.reduce_mean(t), "mean")
    return t


def by_python(t):
    return tf.ensure_shape(tf.py_function(lambda a: a, [t], t.dtype), t.shape)


def own_kernel_clipped(own, t):
    own.kernel.assign(tf.clip_by_value(own.kernel, -1, 1))
    return t @ own.kernel


def seen(function):
    return chain(lambda: L.Dense(4), lambda: Doing(function, weight("seen", (), trainable=False)))


STATE = {
    "mean assigned": ("state", chain(assigning(tf.reduce_mean))),
    "number of examples assigned": ("state", chain(assigning(lambda t: tf.shape(t)[0]))),
    "mean assigned backward": ("state", seen(assigning_backward)),
    "mean assigned in a function": ("state", seen(in_a_function)),
    "counted if bright": ("state", seen(in_a_condition)),
    "metric": ("state", chain(lambda: Doing(measured))),
    "python": ("state", chain(lambda: L.Dense(4), lam(by_python))),
    "own weight rewritten": ("state", chain(lambda: Doing(own_kernel_clipped, weight("kernel", "square")))),
    "spectral normalization": ("state", chain(lambda: L.SpectralNormalization(L.Dense(4)))),
    "state of a recurrent layer": ("mixes", lambda: stateful()),
    "printed": ("state", chain(lam(lambda t: printed(t)))),
}


def printed(t):
    with tf.control_dependencies([tf.print(tf.reduce_mean(t), output_stream="file:///dev/null")]):
        return tf.identity(t)


def stateful():
    return keras.Sequential([L.InputLayer((5, 2), batch_size=3), L.LSTM(2, stateful=True), L.Dense(3)])
