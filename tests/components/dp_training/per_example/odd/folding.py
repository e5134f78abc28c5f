"""Models in which rows are not examples, or not always: exact."""

import tensorflow as tf

from components.common.legacy_keras import keras
from tests.components.dp_training.per_example.odd.parts import Doing, centred, chain, lam, weight

L = keras.layers


def folded(t):
    return tf.reshape(t, [-1, t.shape[-1]])


def unfolded(t):
    return tf.reshape(t, [-1, 5, t.shape[-1]])


def time_major(t):
    return tf.transpose(t, [1, 0, 2])


def positions():
    ids = L.Input((5,), dtype="int32")
    places = Doing(lambda own, t: own.table(tf.range(5)) + t, table=L.Embedding(5, 3))
    return keras.Model(ids, L.Dense(3)(L.Flatten()(places(L.Embedding(4, 3)(ids)))))


def positions_in_a_product():
    x = L.Input((5, 3))
    places = Doing(lambda own, t: own.inner(own.table(tf.range(5))) * t, table=L.Embedding(5, 3), inner=L.Dense(3))
    return keras.Model(x, L.Dense(3)(L.Flatten()(places(x))))


def class_token(own, t):
    token = tf.tile(own.token[None, None], [tf.shape(t)[0], 1, 1])
    return own.inner(tf.concat([token, t], 1))


def looped(own, t):
    _, total = tf.while_loop(lambda i, _: i < 3, lambda i, s: (i + 1, tf.tanh(s @ own.kernel)), [0, t])
    return total


def mapped(own, t):
    return tf.map_fn(lambda row: tf.tensordot(row, own.kernel, 1), t)


def large_batches_mix(t):
    return tf.cond(tf.shape(t)[0] > 50, lambda: centred(t), lambda: t)


def bright_batches_mix(t):
    return tf.cond(tf.reduce_max(t) > 1e4, lambda: centred(t), lambda: t)


def channels_folded(t):
    return tf.reshape(tf.transpose(t, [0, 3, 1, 2]), [-1, 6, 6, 1])


def squeezed(t):
    """Of a batch of one, the batch axis goes too, and comes back."""
    return tf.reshape(tf.squeeze(t), [-1, 4])


def padded_to_eight(t):
    """The batch filled up with zeros, as some accelerators want it, and cut again."""
    n = tf.shape(t)[0]
    return tf.pad(t, [[0, 8 - n % 8], [0, 0]])[:n]


FOLDING = {
    "positions folded into rows": ("exact", chain(lam(folded), lambda: L.Dense(3), lam(unfolded), shape=(5, 2))),
    "time first": ("exact", chain(lam(time_major), lambda: L.Dense(3), lam(time_major), shape=(5, 2))),
    "time first, folded": (
        "exact",
        chain(
            lam(lambda t: folded(time_major(t))),
            lambda: L.Dense(3),
            lam(lambda t: time_major(tf.reshape(t, [5, -1, 3]))),
            shape=(5, 2),
        ),
    ),
    "position embedding": ("exact", positions),
    "positions through a layer": ("exact", positions_in_a_product),
    "normalised in a fold": (
        "exact",
        chain(lam(folded), L.LayerNormalization, lam(unfolded), shape=(5, 2)),
    ),
    "halves folded": (
        "exact",
        chain(lam(lambda t: tf.reshape(t, [-1, 2])), lambda: L.Dense(2), lam(lambda t: tf.reshape(t, [-1, 4]))),
    ),
    "channels folded into images": (
        "exact",
        chain(
            lam(channels_folded),
            lambda: L.Conv2D(2, 3),
            lam(lambda t: tf.reshape(t, [-1, 2, 32])),
            shape=(6, 6, 2),
        ),
    ),
    "space to batch": (
        "exact",
        chain(
            lam(lambda t: tf.space_to_batch(t, [2, 2], [[0, 0], [0, 0]])),
            lambda: L.Conv2D(2, 1),
            lam(lambda t: tf.batch_to_space(t, [2, 2], [[0, 0], [0, 0]])),
            shape=(4, 4, 1),
        ),
    ),
    "every time": ("exact", chain(lambda: L.TimeDistributed(L.Dense(2)), shape=(5, 2))),
    "every image": ("exact", chain(lambda: L.TimeDistributed(L.Conv2D(2, 2)), shape=(2, 4, 4, 1))),
    "class token": (
        "exact",
        chain(lambda: Doing(class_token, weight("token", (2,)), inner=L.Dense(3)), shape=(5, 2)),
    ),
    "learned positions": (
        "exact",
        chain(lambda: Doing(lambda own, t: t + own.places, weight("places", (5, 2))), lambda: L.Dense(2), shape=(5, 2)),
    ),
    "loop over steps": ("exact", chain(lambda: Doing(looped, weight("kernel", "square")))),
    "loop over examples": ("exact", chain(lambda: Doing(mapped, weight("kernel", "square")))),
    "large batches mix": ("exact", chain(lambda: L.Dense(4), lam(large_batches_mix))),
    "bright batches mix": ("exact", chain(lambda: L.Dense(4), lam(bright_batches_mix))),
    "filled up with zeros": ("exact", chain(lam(padded_to_eight), lambda: L.Dense(4))),
    "squeezed": ("exact", chain(lam(squeezed), lambda: L.Dense(4), shape=(4, 1))),
    "einsum": ("exact", chain(lambda: L.EinsumDense("abc,cd->abd", (5, 3)), shape=(5, 2))),
    "einsum, time first": (
        "exact",
        chain(lam(time_major), lambda: L.EinsumDense("tnc,cd->tnd", (None, 3)), lam(time_major), shape=(5, 2)),
    ),
    "permuted axes": ("exact", chain(lambda: L.Permute((2, 1)), lambda: L.Dense(2), shape=(5, 2))),
    "residual by an operator": ("exact", lambda: by_operator()),
    "other batch normalization, frozen": ("exact", chain(lambda: L.BatchNormalization(trainable=False))),
    "unrolled memory": ("exact", chain(lambda: L.LSTM(2, unroll=True), shape=(3, 2))),
    "locally connected": ("exact", chain(lambda: L.LocallyConnected1D(2, 2), shape=(5, 2))),
}


def by_operator():
    x = L.Input((4,))
    hidden = tf.nn.relu(L.Dense(4)(x)) * 0.5 + x
    return keras.Model(x, L.Dense(3)(hidden[:, 1:]))
