"""Clipped sums against a naive loop over examples."""

import numpy as np
import pytest
import tensorflow as tf

from components.common.errors import ModelError
from components.common.legacy_keras import keras
from components.dp_training.models import build
from components.dp_training.per_example import check_trainable_privately, clipped_gradient_sum

L = keras.layers


def naive(model, images, labels, clip):
    total = [np.zeros(v.shape) for v in model.trainable_variables]
    for image, label in zip(images, labels, strict=True):
        with tf.GradientTape() as tape:
            logits = model(image[None], training=True)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits([label], logits)[0]
        gradients = [g.numpy() for g in tape.gradient(loss, model.trainable_variables)]
        norm = np.sqrt(sum(np.sum(g.astype(np.float64) ** 2) for g in gradients))
        for t, g in zip(total, gradients, strict=True):
            t += g * min(1.0, clip / norm)
    return total


def shared():
    image = L.Input((8, 8, 1))
    layer = L.Conv2D(2, 3, padding="same")
    return keras.Model(image, L.Dense(3)(L.Flatten()(layer(layer(L.Conv2D(2, 1)(image))))))


MODELS = {
    "tanh_cnn": lambda: build("tanh_cnn", (28, 28, 1), 10),
    "strided": lambda: keras.Sequential(
        [L.Input((9, 9, 2)), L.Conv2D(3, 3, strides=2, use_bias=False), L.Flatten(), L.Dense(4, use_bias=False)]
    ),
    "dilated": lambda: keras.Sequential(
        [L.Input((9, 9, 2)), L.Conv2D(3, 3, dilation_rate=2, padding="same"), L.Flatten(), L.Dense(4)]
    ),
    "grouped, by vectorized_map": lambda: keras.Sequential(
        [L.Input((8, 8, 2)), L.Conv2D(4, 3, groups=1, data_format="channels_last"), L.DepthwiseConv2D(3), L.Flatten(), L.Dense(3)]
    ),
    "used twice, by vectorized_map": shared,
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("clip", [0.05, 1e6])
def test_equals_the_naive_loop(name, clip):
    model = MODELS[name]()
    rng = np.random.default_rng(1)
    images = rng.random((6, *model.input_shape[1:]), np.float32)
    labels = rng.integers(0, model.output_shape[-1], 6)
    found = clipped_gradient_sum(model, tf.constant(images), tf.constant(labels), tf.ones(6), clip)
    for ours, theirs in zip(found, naive(model, images, labels, clip), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_an_absent_example_adds_nothing_and_one_example_at_most_the_clip_norm():
    model = build("tanh_cnn", (28, 28, 1), 10)
    images, labels = np.random.default_rng(2).random((3, 28, 28, 1), np.float32), np.array([1, 2, 3])
    two = clipped_gradient_sum(model, images, labels, tf.constant([1.0, 1.0, 0.0]), 0.1)
    three = clipped_gradient_sum(model, images, labels, tf.ones(3), 0.1)
    norm = np.sqrt(sum(np.sum((a.numpy() - b.numpy()) ** 2) for a, b in zip(two, three, strict=True)))
    assert 0.05 < norm <= 0.1 * (1 + 1e-4)


def test_batch_normalization_is_refused_with_its_replacement():
    model = keras.Sequential([L.Input((4,)), L.BatchNormalization(), L.Dense(2)])
    with pytest.raises(ModelError, match="GroupNormalization"):
        check_trainable_privately(model)
