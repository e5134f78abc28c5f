"""Per-example gradients of any model whose examples do not mix, by `tf.vectorized_map`; all are held at once."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from components.common.legacy_keras import keras
from components.dp_training.per_example.terms import Direct


def whole_model_terms(
    model: keras.Model,
    images: tf.Tensor,
    labels: tf.Tensor,
    loss: Callable,
    multiplicity: int,
    changed: Sequence[tf.Variable] = (),
) -> list[Direct]:
    """One term a trainable variable; images [n * multiplicity, ...], labels [n]. Each example is run from the same
    values of the variables that the model has `changed`, such as a step counter, and these are put back at the end:
    what they are must not follow from how many examples there were before."""
    copies = tf.reshape(images, tf.concat([[tf.shape(labels)[0], multiplicity], tf.shape(images)[1:]], 0))
    before = [tf.identity(variable) for variable in changed]
    copies = tf.ensure_shape(copies, [None, multiplicity, *images.shape[1:]])

    def gradient(example: tuple[tf.Tensor, tf.Tensor]) -> list[tf.Tensor]:
        own, label = example
        for variable, value in zip(changed, before, strict=True):
            variable.assign(value)
        with tf.GradientTape() as tape:
            mean = tf.reduce_mean(loss(tf.repeat(label[None], multiplicity, 0), model(own, training=True)))
        found = tape.gradient(mean, model.trainable_variables, unconnected_gradients="zero")
        return [tf.convert_to_tensor(g) for g in found]

    every = one_by_one if changed else over_rows
    gradients = every(gradient, (copies, labels))
    for variable, value in zip(changed, before, strict=True):
        variable.assign(value)
    return [Direct(g) for g in gradients]


def over_rows(function: Callable[[Any], list[tf.Tensor]], rows: Any) -> list[tf.Tensor]:
    """`tf.vectorized_map`, or `tf.map_fn`, row by row, where it has no rule for an operation.

    Args:
        function: from one row of `rows` to float32 tensors.
        rows: nested tensors [n, ...].

    Returns:
        float32 [n, ...] each.
    """
    try:
        return tf.vectorized_map(function, rows)
    except (NotImplementedError, TypeError, ValueError) as error:
        logging.warning("row by row instead of tf.vectorized_map: %s", str(error).strip().splitlines()[-1].strip())
    return one_by_one(function, rows)


def one_by_one(function: Callable[[Any], list[tf.Tensor]], rows: Any) -> list[tf.Tensor]:
    """`tf.map_fn`, each row after the one before; as `over_rows`."""
    shapes = tf.function(function).get_concrete_function(
        tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape[1:], t.dtype), rows)
    )
    signature = [tf.TensorSpec(s.shape, s.dtype) for s in shapes.structured_outputs]
    return tf.map_fn(function, rows, fn_output_signature=signature, parallel_iterations=1)
