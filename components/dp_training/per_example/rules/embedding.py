"""Embedding: rows of a table, looked up by id."""

import tensorflow as tf

from components.common.legacy_keras import keras
from components.dp_training.per_example.rules.rule import Recorded, Rule
from components.dp_training.per_example.terms import Rows


def _fits(layer: keras.layers.Embedding, ids: tf.Tensor) -> bool:
    return not getattr(layer, "sparse", False) and isinstance(ids, tf.Tensor) and ids.shape.rank is not None


def _forward(layer: keras.layers.Embedding, call, ids: tf.Tensor) -> Recorded:
    output = call(ids)
    return Recorded(output=output, taps=(output,), saved=(ids,))


def _terms(layer, recorded, gradients):
    """ids [m, ...], g [m, ..., width]: each id's row of the table receives the gradient at its place."""
    (ids,), (g,) = recorded.saved, gradients
    positions = ids.shape[1:].num_elements() if ids.shape[1:].is_fully_defined() else -1
    rows = tf.shape(ids)[0]
    ids = tf.reshape(tf.cast(ids, tf.int32), [rows, positions])
    g = tf.reshape(g, [rows, positions, layer.output_dim])
    return {"embeddings": Rows(ids, g, (layer.input_dim, layer.output_dim))}


RULES = (Rule(layer=keras.layers.Embedding, weights=("embeddings",), fits=_fits, forward=_forward, terms=_terms),)
