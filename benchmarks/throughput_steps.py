"""One compiled training step of each kind that `dp_throughput` compares, on made-up examples."""

import sys
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from components.common.legacy_keras import keras
from components.dp_training.models import build
from components.dp_training.per_example import clipped_gradient_sum
from components.dp_training.per_example.engine import cross_entropy
from components.dp_training.per_example.tfp import layer_registry
from components.dp_training.randomness import NoisedSum

sys.skip_tf_privacy_import = True  # see components.dp_training.per_example.tfp

from tensorflow_privacy.privacy.keras_models.dp_keras_model import make_dp_model_class  # noqa: E402
from tensorflow_privacy.privacy.optimizers.dp_optimizer_keras import DPKerasSGDOptimizer  # noqa: E402
from tensorflow_privacy.privacy.optimizers.dp_optimizer_keras_vectorized import (  # noqa: E402
    VectorizedDPKerasSGDOptimizer,
)

SHAPE, CLASSES, CLIP, NOISE, RATE = (28, 28, 1), 10, 1.0, 1.0, 0.1
PHYSICAL = 512  # examples that the engine holds at a time
Step = Callable[[], object]


def group_cnn() -> keras.Model:
    """A CNN with GroupNormalization, 297,818 parameters."""
    layers = keras.layers
    image = hidden = layers.Input(SHAPE)
    for filters in (32, 64, 128):
        hidden = layers.Conv2D(filters, 3, padding="same")(hidden)
        hidden = layers.ReLU()(layers.GroupNormalization(8)(hidden))
        hidden = layers.MaxPool2D(2)(hidden)
    hidden = layers.Dense(176, activation="relu")(layers.Flatten()(hidden))
    return keras.Model(image, layers.Dense(CLASSES)(hidden))


MODELS = {"tanh_cnn_26k": lambda: build("tanh_cnn", SHAPE, CLASSES), "group_cnn_300k": group_cnn}


def examples(batch: int) -> tuple[tf.Tensor, tf.Tensor]:
    """float32 images [batch, 28, 28, 1] and int64 labels [batch]."""
    rng = np.random.default_rng(0)
    return tf.constant(rng.random((batch, *SHAPE), np.float32)), tf.constant(rng.integers(0, CLASSES, batch))


def plain(model: keras.Model, batch: int) -> Step:
    """SGD without privacy: forward, backward and update in one graph."""

    @tf.function
    def step(images, labels):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(cross_entropy(labels, model(images, training=True)))
        _update(model, tape.gradient(loss, model.trainable_variables))

    return _on(step, batch)


def engine(model: keras.Model, batch: int, physical: int = PHYSICAL) -> Step:
    """DP-SGD with this project's engine: clipped sums of `physical` examples at a time, then noise and update."""
    physical = min(batch, physical)
    sizes = [v.shape.num_elements() for v in model.trainable_variables]
    total, noised = np.zeros(sum(sizes)), NoisedSum(NOISE, CLIP, sum(sizes), physical)

    @tf.function
    def clipped(images, labels):
        sums = clipped_gradient_sum(model, images, labels, tf.ones(physical), CLIP)
        return tf.concat([tf.reshape(s, [-1]) for s in sums], 0)

    @tf.function
    def move(gradient):
        parts = tf.split(gradient / batch, sizes)
        _update(model, [tf.reshape(g, v.shape) for g, v in zip(parts, model.trainable_variables, strict=True)])

    images, labels = examples(physical)

    def step():
        total[:] = 0.0
        for _ in range(batch // physical):
            np.add(total, clipped(images, labels), out=total)
        move(tf.constant(noised.release(total)))

    return step


def tfp_optimizer(model: keras.Model, batch: int) -> Step:
    """TFP's DPKerasSGDOptimizer, in Keras's train step."""
    return _compiled(model, DPKerasSGDOptimizer(CLIP, NOISE, batch, learning_rate=RATE), "none", batch)


def tfp_vectorized(model: keras.Model, batch: int) -> Step:
    """TFP's VectorizedDPKerasSGDOptimizer, in Keras's train step."""
    return _compiled(model, VectorizedDPKerasSGDOptimizer(CLIP, NOISE, batch, learning_rate=RATE), "none", batch)


def tfp_model(model: keras.Model, batch: int, registry=None) -> Step:
    """TFP's DPModel, with the layers that its registry has."""
    options = {"l2_norm_clip": CLIP, "noise_multiplier": NOISE, "use_xla": False, "layer_registry": registry}
    private = make_dp_model_class(keras.Model)(**options, inputs=model.inputs, outputs=model.outputs)
    return _compiled(private, keras.optimizers.legacy.SGD(RATE), "sum_over_batch_size", batch)


def tfp_model_with_rules(model: keras.Model, batch: int) -> Step:
    """TFP's DPModel, with this project's rules in its registry: its fast path."""
    return tfp_model(model, batch, layer_registry())


def _compiled(model: keras.Model, optimizer, reduction: str, batch: int) -> Step:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
    model.compile(optimizer, loss)
    return _on(tf.function(lambda images, labels: model.train_step((images, labels))), batch)


def _update(model: keras.Model, gradients: list[tf.Tensor]) -> None:
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        variable.assign_sub(RATE * gradient)


def _on(step: Callable, batch: int) -> Step:
    images, labels = examples(batch)
    return lambda: step(images, labels)
