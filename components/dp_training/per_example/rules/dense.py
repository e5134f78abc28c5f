"""Dense, on vectors and on anything with more axes."""

import tensorflow as tf

from components.common.legacy_keras import keras
from components.dp_training.per_example.rules.rule import Rule, before_activation
from components.dp_training.per_example.terms import Direct, Outer


def _fits(layer: keras.layers.Dense, x: tf.Tensor) -> bool:
    return x.shape.rank is not None and x.shape.rank >= 2 and x.shape[-1] is not None


def _terms(layer, recorded, gradients):
    """x [m, ..., in], g [m, ..., out]: the kernel's gradient is the sum of their outer products over all axes between
    (Goodfellow 2015, arXiv:1510.01799, for one position)."""
    (x,), (g,) = recorded.saved, gradients
    positions = x.shape[1:-1].num_elements() if x.shape[1:-1].is_fully_defined() else -1
    x = tf.reshape(x, [tf.shape(x)[0], positions, x.shape[-1]])
    g = tf.reshape(g, [tf.shape(g)[0], positions, layer.units])
    terms = {"kernel": Outer(x, g, (x.shape[-1], layer.units))}
    bias = tf.reshape(g, [-1, layer.units]) if positions == 1 else tf.reduce_sum(g, 1)
    return terms | ({"bias": Direct(bias)} if layer.use_bias else {})


RULES = (
    Rule(layer=keras.layers.Dense, weights=("kernel", "bias"), fits=_fits, forward=before_activation, terms=_terms),
)
