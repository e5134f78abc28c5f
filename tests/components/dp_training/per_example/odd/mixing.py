"""Models in which examples mix: refused."""

import tensorflow as tf

from components.common.legacy_keras import keras
from tests.components.dp_training.per_example.odd.parts import Doing, centred, chain, lam, weight, zero_head

L = keras.layers


def rezero():
    x = L.Input((4,))
    hidden = L.Dense(4)(x)
    gate = Doing(lambda own, t: t * own.alpha, weight("alpha", ()))
    return keras.Model(x, L.Dense(3)(L.Add()([hidden, gate(L.Lambda(centred)(hidden))])))


def broadcast_sum():
    x = L.Input((4,))
    both = x + L.Reshape((1, 4))(x)
    return keras.Model(x, L.Dense(3)(L.GlobalAveragePooling1D()(both)))


@tf.custom_gradient
def centred_backward(t):
    return tf.identity(t), lambda g: g - tf.reduce_mean(g, 0)


def permuted(t):
    return tf.gather(t, tf.argsort(tf.random.uniform(tf.shape(t)[:1])))


def flipped(t):
    flip = tf.random.uniform([tf.shape(t)[0], 1]) < 0.5
    return tf.where(flip, t[:, ::-1], t)


def batch_attention(t):
    return tf.nn.softmax(tf.matmul(t, t, transpose_b=True)) @ t


MIXING = {
    "batch statistics before a zero head": ("mixes", chain(lambda: L.Dense(4), lam(centred), head=zero_head)),
    "batch statistics before two zero layers": (
        "mixes",
        chain(lambda: L.Dense(4), lam(centred), zero_head, head=zero_head),
    ),
    "residual with a zero gate": ("mixes", rezero),
    "random flips and centring": ("mixes", chain(lam(flipped), lam(centred))),
    "random flips and centring, zero head": ("mixes", chain(lam(flipped), lam(centred), head=zero_head)),
    "random permutation": ("mixes", chain(lambda: L.Dense(4), lam(permuted))),
    "random shuffle without a gradient": ("model", chain(lambda: L.Dense(4), lam(tf.random.shuffle))),
    "neighbour": ("mixes", chain(lam(lambda t: tf.roll(t, 1, 0)))),
    "reversed batch": ("mixes", chain(lambda: L.Dense(4), lam(lambda t: t[::-1]))),
    "softmax over the batch": ("mixes", chain(lambda: L.Softmax(axis=0))),
    "softmax over the batch, counted from the end": ("mixes", chain(lambda: L.Softmax(axis=-2))),
    "sorted batch": ("mixes", chain(lam(lambda t: tf.sort(t, 0)))),
    "largest of the batch, without gradient": (
        "mixes",
        chain(lam(lambda t: t + tf.stop_gradient(tf.reduce_max(t, 0)))),
    ),
    "running sum": ("mixes", chain(lambda: L.Dense(4), lam(lambda t: tf.cumsum(t, 0)))),
    "divided by the batch's size": ("mixes", chain(lam(lambda t: t / tf.cast(tf.shape(t)[0], t.dtype)))),
    "gradient divided by the batch's size": (
        "mixes",
        chain(lambda: L.Dense(4), lam(tf.custom_gradient(lambda t: (t + 0, lambda g: g / len_of(g))))),
    ),
    "first example added to all": ("mixes", chain(lambda: L.Dense(4), lam(lambda t: t + t[:1]))),
    "rank in the batch": (
        "mixes",
        chain(lam(lambda t: t * tf.cast(tf.argsort(tf.argsort(t, 0), 0), t.dtype))),
    ),
    "gradient centred over the batch": ("mixes", chain(lambda: L.Dense(4), lam(centred_backward))),
    "length of the whole batch": ("mixes", chain(lam(lambda t: tf.nn.l2_normalize(t)))),
    "attention over the batch": ("mixes", chain(lambda: L.Dense(4), lam(batch_attention))),
    "sum of two ranks": ("mixes", broadcast_sum),
    "batch normalization": ("mixes", chain(L.BatchNormalization)),
    "recurrent over the batch": (
        "mixes",
        chain(lambda: L.SimpleRNN(3, time_major=True, return_sequences=True), shape=(5, 2)),
    ),
    "batch as features": ("model", chain(lam(lambda t: tf.transpose(tf.ensure_shape(t, (4, 4))) + t))),
}


def len_of(t):
    return tf.cast(tf.shape(t)[0], t.dtype)
