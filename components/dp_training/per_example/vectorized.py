"""Per-example gradients of any model whose examples do not mix, by `tf.vectorized_map`; all are held at once."""

from collections.abc import Callable

import tensorflow as tf

from components.common.legacy_keras import keras
from components.dp_training.per_example.terms import Direct


def whole_model_terms(
    model: keras.Model, images: tf.Tensor, labels: tf.Tensor, loss: Callable, multiplicity: int
) -> list[Direct]:
    """One term a trainable variable; images [n * multiplicity, ...], labels [n]."""
    copies = tf.reshape(images, tf.concat([[tf.shape(labels)[0], multiplicity], tf.shape(images)[1:]], 0))
    copies = tf.ensure_shape(copies, [None, multiplicity, *images.shape[1:]])

    def gradient(example: tuple[tf.Tensor, tf.Tensor]) -> list[tf.Tensor]:
        own, label = example
        with tf.GradientTape() as tape:
            mean = tf.reduce_mean(loss(tf.repeat(label[None], multiplicity, 0), model(own, training=True)))
        found = tape.gradient(mean, model.trainable_variables, unconnected_gradients="zero")
        return [tf.convert_to_tensor(g) for g in found]

    return [Direct(g) for g in tf.vectorized_map(gradient, (copies, labels))]
