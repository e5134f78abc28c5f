"""DP-SGD: Poisson sampling, clipped sums, one noise draw a step, division by the expected batch size."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import tensorflow as tf

from components.common.errors import Interrupted, ModelError
from components.common.examples import Split
from components.common.legacy_keras import keras
from components.common.projections import Held
from components.dp_training.augmentation import augmented
from components.dp_training.config import TrainerConfig
from components.dp_training.fixed import scaled
from components.dp_training.journal import Journal
from components.dp_training.per_example import check_trainable_privately, clipped_gradient_sum, generator_states
from components.dp_training.randomness import GaussianNoise, PoissonSampler, generator
from components.privacy.accounting import Mechanism


class Indexed(Protocol):
    """Examples that can be read by index: `Split` in memory, `ScratchExamples` on disk."""

    def __len__(self) -> int: ...

    def take(self, indices: np.ndarray) -> Split: ...


def train_privately(
    model: keras.Model,
    private: Indexed,
    config: TrainerConfig,
    mechanism: Mechanism,
    journal: Journal,
    on_step: Callable[[int], None] = lambda step: None,
    held: Held | None = None,
) -> None:
    """Trains `model` in place by DP-SGD (Abadi et al. 2016, arXiv:1607.00133, algorithm 1).

    Sampler and noise are seeded from the operating system's entropy; neither they nor any figure computed on private
    examples leave this function.

    Args:
        model: returns logits; takes float32 images in [0, 1], or features.
        private: the training examples, uint8 images or float32 features; reading them is charged by the caller.
        config: how to train.
        mechanism: the noise, the sampling probability and the number of steps that were reserved.
        journal: counts the steps, and holds the state that an earlier, killed process of the same run had reached.
        on_step: called with the number of steps begun so far, before each step touches the examples.
        held: what kernels are held to while gradients are taken; nothing of it is chosen by looking at examples.

    Raises:
        ModelError: the model mixes examples, or its weights are no longer finite.
    """
    check_trainable_privately(model)
    generators = generator_states(model)
    training = _Training(model, config, mechanism, held or Held([]))
    saved = journal.load()
    if saved is not None:
        training.restore(saved)
    sampler = PoissonSampler(mechanism.sampling_probability, config.insecure_fixed_seed)
    try:
        while journal.executed < mechanism.steps:
            journal.begin_step()
            on_step(journal.executed)
            training.step(private, sampler.draw(len(private)), journal.executed)
            if journal.is_due():
                journal.save(training.state())
    except Interrupted:
        journal.save(training.state())
        raise
    journal.save(training.state())
    training.finish()
    for variable, value in generators:
        variable.assign(value)


class _Training:
    """The model with its optimizer, its moving average and the sum of the step in hand."""

    def __init__(self, model: keras.Model, config: TrainerConfig, mechanism: Mechanism, held: Held):
        self._model, self._config, self._held, self._steps = model, config, held, mechanism.steps
        self._optimizer = _optimizer(config, mechanism.steps)
        self._optimizer._create_all_weights(model.trainable_variables)
        self._averages = [tf.Variable(v) for v in model.trainable_variables]
        self._sums = [tf.Variable(tf.zeros_like(v), trainable=False) for v in model.trainable_variables]
        seed = config.insecure_fixed_seed
        self._noise = GaussianNoise(mechanism.noise_multiplier * config.l2_norm_clip, seed)
        self._augmenting = generator(seed)
        inputs = tf.TensorSpec([None, *model.inputs[0].shape[1:]], model.inputs[0].dtype)
        labels = tf.TensorSpec([None], tf.int64)
        self._add = tf.function(self._add_clipped, input_signature=[inputs, labels])  # one trace for all sizes
        self._move = tf.function(self._apply_noised, input_signature=[tf.TensorSpec([], tf.int64)])

    def step(self, private: Indexed, sampled: np.ndarray, number: int) -> None:
        """One step on the sampled examples, of noise alone if there are none. number: of this step, from 1."""
        self._held.update((number - 1) / self._steps)
        with self._held.projected():
            self._accumulate_all(private, sampled)
        if not self._move(tf.constant(number, tf.int64)):
            raise ModelError("private training must keep finite weights. Lower its learning_rate")

    def _accumulate_all(self, private: Indexed, sampled: np.ndarray) -> None:
        pieces = -(-len(sampled) // self._config.physical_batch_size)
        for indices in np.array_split(sampled, pieces) if pieces else []:
            batch = private.take(indices)
            copies = self._config.augmentation_multiplicity
            images = augmented(batch.images, self._config.augmentations, copies, self._augmenting)
            self._accumulate(scaled(tf.constant(images)), tf.constant(batch.labels))

    def _accumulate(self, inputs: tf.Tensor, labels: tf.Tensor) -> None:
        """Adds examples to the sum. One whose gradient is not finite, which no clip bounds, adds nothing: it is found
        by halving, so that what an example adds depends on itself alone."""
        if self._add(inputs, labels) or len(labels) == 1:
            return
        half, copies = len(labels) // 2, len(inputs) // len(labels)
        self._accumulate(inputs[: half * copies], labels[:half])
        self._accumulate(inputs[half * copies :], labels[half:])

    def state(self) -> list[np.ndarray]:
        """Weights, optimizer state, averages and what weights are held to: the mechanism's outputs, and no more."""
        return [v.numpy() for v in self._variables()]

    def restore(self, state: list[np.ndarray]) -> None:
        """Takes up what `state` gave."""
        for variable, value in zip(self._variables(), state, strict=True):
            variable.assign(value)

    def finish(self) -> None:
        """Leaves the moving average in the model, if there is one."""
        if self._config.ema:
            for variable, average in zip(self._model.trainable_variables, self._averages, strict=True):
                variable.assign(average)

    def _variables(self) -> list[tf.Variable]:
        return [*self._model.trainable_variables, *self._optimizer.variables(), *self._averages, *self._held.variables]

    def _add_clipped(self, inputs: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Adds one physical batch's clipped gradients to the sums if they are finite; returns whether, a bool."""
        present = tf.ones(tf.shape(labels))
        clip, copies = self._config.l2_norm_clip, self._config.augmentation_multiplicity
        clipped = clipped_gradient_sum(self._model, inputs, labels, present, clip, multiplicity=copies)
        finite = _all_finite(clipped)
        for total, gradient in zip(self._sums, clipped, strict=True):
            total.assign_add(tf.math.multiply_no_nan(gradient, tf.cast(finite, tf.float32)))
        return finite

    def _apply_noised(self, number: tf.Tensor) -> tf.Tensor:
        """Noises the sums with one draw, divides by the expected batch size, moves the weights, resets the sums.

        Returns:
            Whether all weights are finite, a bool.
        """
        sizes = [s.shape.num_elements() for s in self._sums]
        noise = tf.split(self._noise.draw(sum(sizes)), sizes)
        batch = float(self._config.expected_batch_size)
        noised = [(s + tf.reshape(n, s.shape)) / batch for s, n in zip(self._sums, noise, strict=True)]
        self._optimizer.iterations.assign(number - 1)
        self._optimizer.apply_gradients(zip(noised, self._model.trainable_variables, strict=True))
        executed = tf.cast(number, tf.float32)
        decay = tf.minimum(self._config.ema, executed / (9.0 + executed))
        for total, average, variable in zip(self._sums, self._averages, self._model.trainable_variables, strict=True):
            average.assign(decay * average + (1.0 - decay) * variable)
            total.assign(tf.zeros_like(total))
        return _all_finite(self._model.trainable_variables)


def _all_finite(tensors: list[tf.Tensor]) -> tf.Tensor:
    return tf.reduce_all(tf.stack([tf.reduce_all(tf.math.is_finite(t)) for t in tensors]))


def _optimizer(config: TrainerConfig, steps: int) -> keras.optimizers.legacy.Optimizer:
    rate: float | keras.optimizers.schedules.LearningRateSchedule = config.learning_rate
    if config.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)
    if config.schedule == "linear":
        rate = keras.optimizers.schedules.PolynomialDecay(config.learning_rate, steps, end_learning_rate=0.0)
    if config.optimizer == "adam":
        return keras.optimizers.legacy.Adam(rate)
    return keras.optimizers.legacy.SGD(rate, momentum=config.momentum)
