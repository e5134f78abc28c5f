"""DP-SGD on arrays: Poisson sampling, clipped sums, one noise draw a step, division by the expected batch size."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from components.common.errors import ModelError
from components.common.examples import Split
from components.common.legacy_keras import keras
from components.dp_training.config import TrainerConfig
from components.dp_training.per_example import check_trainable_privately, clipped_gradient_sum
from components.dp_training.wavelet_features import WaveletFeatures, batched
from components.privacy.accounting import Mechanism


def train_privately(
    model: keras.Model,
    private: Split,
    config: TrainerConfig,
    mechanism: Mechanism,
    on_step: Callable[[int], None] = lambda step: None,
) -> None:
    """Trains `model` in place by DP-SGD (Abadi et al. 2016, arXiv:1607.00133, algorithm 1).

    Sampler and noise are seeded from the operating system's entropy; neither they nor any figure computed on private
    examples leave this function.

    Args:
        model: returns logits; takes float32 images in [0, 1].
        private: the training examples; reading them is charged by the caller.
        config: how to train.
        mechanism: the noise, the sampling probability and the number of steps that were reserved.
        on_step: called with the number of steps executed so far, before each step touches the examples.

    Raises:
        ModelError: the model mixes examples, or its weights are no longer finite.
    """
    check_trainable_privately(model)
    private, model = without_fixed_layers(private, model)
    sums = [tf.Variable(tf.zeros_like(v)) for v in model.trainable_variables]
    averages = [tf.Variable(v) for v in model.trainable_variables]
    add, step = _compiled(model, config, mechanism, sums, averages)
    sampler = np.random.default_rng()
    for executed in range(mechanism.steps):
        on_step(executed + 1)
        sampled = np.flatnonzero(sampler.random(len(private)) < mechanism.sampling_probability)
        for images, labels, present in _physical_batches(private, sampled, config.physical_batch_size):
            add(images, labels, present)
        step(tf.constant(executed, tf.float32))
    if config.ema:
        for variable, average in zip(model.trainable_variables, averages, strict=True):
            variable.assign(average)
    if not all(np.all(np.isfinite(w)) for w in model.get_weights()):
        raise ModelError("private training must end with finite weights. Lower trainer.learning_rate")


def _compiled(
    model: keras.Model,
    config: TrainerConfig,
    mechanism: Mechanism,
    sums: list[tf.Variable],
    averages: list[tf.Variable],
) -> tuple[Callable, Callable]:
    """The two graphs of a step: add a physical batch to `sums`; noise them, move the weights, reset them."""
    noise = tf.random.Generator.from_non_deterministic_state()
    optimizer = keras.optimizers.legacy.SGD(tf.Variable(config.learning_rate), momentum=config.momentum)
    stddev = mechanism.noise_multiplier * config.l2_norm_clip

    @tf.function
    def add(images, labels, present):
        inputs = _scaled(images)
        clipped = clipped_gradient_sum(model, inputs, labels, present, config.l2_norm_clip)
        for total, gradient in zip(sums, clipped, strict=True):
            total.assign_add(gradient)

    @tf.function
    def step(executed):
        noised = [(s + noise.normal(s.shape, stddev=stddev)) / config.expected_batch_size for s in sums]
        if config.learning_rate_schedule == "linear":
            optimizer.learning_rate.assign(config.learning_rate * (1.0 - executed / mechanism.steps))
        optimizer.apply_gradients(zip(noised, model.trainable_variables, strict=True))
        decay = tf.minimum(config.ema, (1.0 + executed) / (10.0 + executed))
        for total, average, variable in zip(sums, averages, model.trainable_variables, strict=True):
            average.assign(decay * average + (1.0 - decay) * variable)
            total.assign(tf.zeros_like(total))

    return add, step


def without_fixed_layers(private: Split, model: keras.Model) -> tuple[Split, keras.Model]:
    """Computes once, example by example, what the leading layers without trained weights make of the images.

    A gradient does not see the difference. Only a Sequential whose first layers are fixed, and among them one that is
    dear (`WaveletFeatures`), is split, since the features take more memory than the images.

    Returns:
        The examples with float32 features in place of images, and a model of the remaining, shared layers.
    """
    layers = model.layers if isinstance(model, keras.Sequential) else []
    fixed = list(itertools.takewhile(lambda layer: not layer.trainable_weights, layers))
    if not any(isinstance(layer, WaveletFeatures) for layer in fixed):
        return private, model
    prefix = keras.Sequential([keras.layers.Input(model.input_shape[1:]), *fixed])
    head = keras.Sequential([keras.layers.Input(prefix.output_shape[1:]), *layers[len(fixed) :]])
    features = batched(lambda images: prefix(images, training=False), private.images)
    return Split(images=features, labels=private.labels), head


def _scaled(images: tf.Tensor) -> tf.Tensor:
    """Images from uint8 to float32 in [0, 1]; features, which are float32 already, as they are."""
    return tf.cast(images, tf.float32) / 255.0 if images.dtype == tf.uint8 else images


def _physical_batches(private: Split, sampled: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Cuts a sample into batches of exactly `size`, padded with absent examples; none for an empty sample.

    Yields:
        uint8 images [size, height, width, channels] (or float32 features of them), int64 labels [size], float32
        presence [size].
    """
    for start in range(0, len(sampled), size):
        chosen = sampled[start : start + size]
        images = np.zeros((size, *private.images.shape[1:]), private.images.dtype)
        labels = np.zeros(size, np.int64)
        present = np.zeros(size, np.float32)
        images[: len(chosen)] = private.images[chosen]
        labels[: len(chosen)] = private.labels[chosen]
        present[: len(chosen)] = 1.0
        yield images, labels, present
