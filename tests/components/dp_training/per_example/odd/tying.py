"""Models that use a weight in more than one place: exact."""

import tensorflow as tf

from components.common.legacy_keras import keras
from tests.components.dp_training.per_example.odd.parts import Doing, chain, weight

L = keras.layers


def tied(function):
    """Dense, then what uses its kernel past it, then Dense."""

    def build():
        x = L.Input((4,))
        owner = L.Dense(5, activation="tanh")
        hidden = owner(x)
        return keras.Model(x, L.Dense(3)(L.Lambda(lambda t: function(t, owner.kernel))(hidden)))

    return build


def shared_kernel():
    x = L.Input((4,))
    first, second = L.Dense(4, activation="tanh"), L.Dense(4)
    hidden = first(x)
    second.build((None, 4))
    second.kernel = first.kernel
    return keras.Model(x, L.Dense(3)(second(hidden)))


def tied_words():
    ids = L.Input((4,), dtype="int32")
    table = L.Embedding(4, 3)
    scores = L.Lambda(lambda t: t @ tf.transpose(table.embeddings))(L.Dense(3)(table(ids)))
    return keras.Model(ids, L.Dense(3)(L.GlobalAveragePooling1D()(scores)))


def captured_in_an_activation():
    x = L.Input((4,))
    owner = L.Dense(4)
    hidden = owner(x)
    return keras.Model(x, L.Dense(3, activation=lambda t: t * tf.reduce_sum(owner.kernel))(hidden))


def nested():
    return keras.Sequential([L.InputLayer((5, 2)), L.Dense(3, activation="tanh"), L.Dense(2)])


def twice(layer, shape=(4,)):
    def build():
        x, own = L.Input(shape), layer()
        return keras.Model(x, L.Dense(3)(L.Flatten()(own(own(x)))))

    return build


def frozen_owner():
    x = L.Input((4,))
    owner = L.Dense(4, trainable=False)
    return keras.Model(x, L.Dense(3)(L.Lambda(lambda t: t @ tf.transpose(owner.kernel))(owner(L.Dense(4)(x)))))


def frozen_bias():
    model = chain(lambda: L.Dense(4, activation="tanh"))()
    model.layers[0].bias._trainable = False
    return model


def weight_normalised(own, t):
    return own.gain * (t @ (own.v / tf.norm(own.v)))


def normalised_weights(layer, input_shape):
    weight("v", "square", initializer="glorot_uniform")(layer, input_shape)
    weight("gain", (), initializer="ones")(layer, input_shape)


def hidden_parts():
    """Layers in a list inside a function, which Keras does not see as its own."""
    x = L.Input((4,))
    inner = L.Dense(4, activation="tanh")
    outer = L.Dense(4)
    hidden = outer(inner(x))
    return keras.Model(x, L.Dense(3)(L.Lambda(lambda t: outer(inner(t)))(hidden)))


TYING = {
    "transposed kernel": ("exact", tied(lambda t, kernel: t @ tf.transpose(kernel))),
    "kernel's size": ("exact", tied(lambda t, kernel: t * tf.norm(kernel))),
    "kernel without gradient": ("exact", tied(lambda t, kernel: t @ tf.stop_gradient(tf.transpose(kernel)))),
    "kernel in a condition": (
        "exact",
        tied(lambda t, kernel: tf.cond(kernel[0, 0] > 100.0, lambda: t, lambda: t * tf.reduce_sum(kernel))),
    ),
    "kernel of another layer": ("exact", shared_kernel),
    "words in and out": ("exact", tied_words),
    "captured in an activation": ("exact", captured_in_an_activation),
    "activation with weights": ("exact", chain(lambda: L.Dense(4, activation=L.PReLU()))),
    "called twice": ("exact", twice(lambda: L.Dense(4, activation="tanh"))),
    "convolved twice": ("exact", twice(lambda: L.Conv2D(2, 3, padding="same", activation="tanh"), (4, 4, 2))),
    "model called twice": ("exact", twice(nested, (5, 2))),
    "frozen kernel past its layer": ("exact", frozen_owner),
    "frozen bias": ("exact", frozen_bias),
    "normalised weight": ("exact", chain(lambda: Doing(weight_normalised, normalised_weights))),
    "layers again in a function": ("exact", hidden_parts),
}
