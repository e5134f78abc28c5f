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
from components.dp_training.randomness import NoisedSum, Pieces, PoissonSampler
from components.privacy.accounting import Mechanism
from components.privacy.secret_bits import SecretBits


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

    Sampler and noise have fresh keys of the operating system's entropy; neither they nor any figure computed on private
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
        self._sizes = [v.shape.num_elements() for v in model.trainable_variables]
        self._sum = np.zeros(sum(self._sizes))  # in float64
        seed, physical = config.insecure_fixed_seed, config.physical_batch_size
        self._noised = NoisedSum(mechanism.noise_multiplier, config.l2_norm_clip, len(self._sum), physical, seed)
        self._pieces = Pieces(config.expected_batch_size, physical, seed)
        self._augmenting = SecretBits("augmentation", seed)
        inputs = tf.TensorSpec([None, *model.inputs[0].shape[1:]], model.inputs[0].dtype)
        labels = tf.TensorSpec([None], tf.int64)
        self._clip = tf.function(self._clipped_sum, input_signature=[inputs, labels])  # one trace for all sizes
        moved = [tf.TensorSpec([], tf.int64), tf.TensorSpec(self._sum.shape)]
        self._move = tf.function(self._apply_noised, input_signature=moved)

    def step(self, private: Indexed, sampled: np.ndarray, number: int) -> None:
        """One step on the sampled examples, of noise alone if there are none. number: of this step, from 1."""
        self._held.update((number - 1) / self._steps)
        with self._held.projected():
            self._accumulate_all(private, sampled)
        noised = self._noised.release(self._sum)
        self._sum[:] = 0.0
        if not self._move(tf.constant(number, tf.int64), tf.constant(noised)):
            raise ModelError("private training must keep finite weights. Lower its learning_rate")

    def _accumulate_all(self, private: Indexed, sampled: np.ndarray) -> None:
        for indices in self._pieces.of(sampled):
            batch = private.take(indices)
            copies = self._config.augmentation_multiplicity
            images = augmented(batch.images, self._config.augmentations, copies, self._augmenting)
            self._accumulate(scaled(tf.constant(images)), tf.constant(batch.labels))

    def _accumulate(self, inputs: tf.Tensor, labels: tf.Tensor) -> None:
        """Adds examples to the sum. One whose gradient is not finite, which no clip bounds, adds nothing: it is found
        by halving, so that what an example adds depends on itself alone."""
        clipped, finite = self._clip(inputs, labels)
        if finite:
            np.add(self._sum, clipped, out=self._sum)
        if finite or len(labels) == 1:
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

    def _clipped_sum(self, inputs: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The sum of one physical batch's clipped gradients, float32 [weights], and whether it is finite, a bool."""
        present = tf.ones(tf.shape(labels))
        clip, copies = self._config.l2_norm_clip, self._config.augmentation_multiplicity
        sums = clipped_gradient_sum(self._model, inputs, labels, present, clip, multiplicity=copies)
        clipped = tf.concat([tf.reshape(s, [-1]) for s in sums], 0)
        return clipped, _all_finite([clipped])

    def _apply_noised(self, number: tf.Tensor, noised: tf.Tensor) -> tf.Tensor:
        """Divides the noised sum, float32 [weights], by the expected batch size, and moves the weights.

        Returns:
            Whether all weights are finite, a bool.
        """
        variables = self._model.trainable_variables
        gradients = tf.split(noised / float(self._config.expected_batch_size), self._sizes)
        parts = [tf.reshape(g, v.shape) for g, v in zip(gradients, variables, strict=True)]
        self._optimizer.iterations.assign(number - 1)
        self._optimizer.apply_gradients(zip(parts, variables, strict=True))
        executed = tf.cast(number, tf.float32)
        decay = tf.minimum(self._config.ema, executed / (9.0 + executed))
        for average, variable in zip(self._averages, variables, strict=True):
            average.assign(decay * average + (1.0 - decay) * variable)
        return _all_finite(variables)


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
