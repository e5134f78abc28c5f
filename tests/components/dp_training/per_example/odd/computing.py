"""Models that add a loss or compute in another precision: refused."""

import tensorflow as tf

from components.common.legacy_keras import keras
from tests.components.dp_training.per_example.odd.parts import Doing, chain, lam, weight

L = keras.layers


def losing(own, t):
    own.add_loss(tf.reduce_mean(t**2))
    return t


class LosesInTraining(L.Layer):
    def call(self, inputs, training=None):
        if training:
            self.add_loss(tf.reduce_mean(inputs))
        return inputs


def model_loss():
    model = chain(lambda: L.Dense(4))()
    model.add_loss(lambda: tf.reduce_sum(model.layers[0].kernel ** 2))
    return model


def symbolic_loss():
    x = L.Input((4,))
    hidden = L.Dense(4)(x)
    model = keras.Model(x, L.Dense(3)(hidden))
    model.add_loss(tf.reduce_mean(hidden))
    return model


LOSSES = {
    "added": ("loss", chain(lambda: Doing(losing))),
    "added in training only": ("loss", chain(lambda: LosesInTraining())),
    "added by a regularizer": ("loss", chain(lambda: L.Dense(4, bias_regularizer="l2"))),
    "added to the model": ("loss", model_loss),
    "added to the model, of a layer": ("loss", symbolic_loss),
}


def in_half(t):
    return tf.cast(tf.cast(t, tf.float16) * 2, t.dtype)


PRECISION = {
    "mixed": ("precision", chain(lambda: L.Dense(4, dtype=keras.mixed_precision.Policy("mixed_float16")))),
    "mixed, brain": ("precision", chain(lambda: L.Dense(4, dtype=keras.mixed_precision.Policy("mixed_bfloat16")))),
    "float64": ("precision", chain(lambda: L.Dense(4, dtype="float64"))),
    "half inside": ("precision", chain(lambda: L.Dense(4), lam(in_half))),
    "float64 weights": (
        "precision",
        chain(lambda: Doing(lambda own, t: t + tf.cast(own.s, t.dtype), weight("s", (), dtype="float64"))),
    ),
}
