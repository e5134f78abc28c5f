"""Private training of kernels that are held: gradients at the projected weights, steps of the weights behind."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.common.errors import Interrupted
from components.common.examples import Split
from components.common.kernels import kernels
from components.common.legacy_keras import keras
from components.common.projections import Centroids, FixedZeros, Held, Int8Grid
from components.dp_training.core import train_privately
from components.dp_training.journal import Journal
from components.dp_training.per_example import clipped_gradient_sum
from components.privacy.accounting import Mechanism
from components.pruning.config import PruneConfig
from components.pruning.core import Zeros
from tests.components.dp_training.test_core import NO_NOISE, config, examples

L = keras.layers
CLIP, RATE, BATCH = 0.5, 1.0, 20  # as in `config`


def network() -> keras.Model:
    keras.utils.set_random_seed(5)
    return keras.Sequential([L.Input((4, 4, 1)), L.Flatten(), L.Dense(4, activation="tanh"), L.Dense(3)])


def held(model: keras.Model, kind: str) -> Held:
    made = []
    for kernel in kernels(model).values():
        values = kernel.variable.numpy()
        few = np.quantile(values, [0.1, 0.5, 0.9])[None].astype(np.float32)
        projection = {
            "fixed zeros": lambda v=values: FixedZeros(v * (np.abs(v) > 0.3)),
            "zeros": lambda k=kernel: Zeros(k, 0.5, PruneConfig(sparsity=0.5, ramp=0.4)),
            "centroids": lambda k=kernel, few=few: Centroids(few, k.channel_axis),
            "int8": lambda k=kernel: Int8Grid(2),
        }[kind]()
        made.append((kernel.variable, [projection]))
    return Held(made)


KINDS = ("fixed zeros", "zeros", "centroids", "int8")


def flat(arrays) -> np.ndarray:
    return np.concatenate([np.asarray(a).ravel() for a in arrays])


def train(folder: Path, private, model, holding: Held, noise=NO_NOISE, steps=1, probability=1.0, **more) -> np.ndarray:
    """Trains; gives the change of the weights behind, flat."""
    before = flat(model.get_weights())
    journal = Journal(folder, 30.0)
    mechanism = Mechanism(noise_multiplier=noise, sampling_probability=probability, steps=steps)
    try:
        train_privately(model, private, config(steps=steps), mechanism, journal, held=holding, **more)
    finally:
        journal.close()
    return flat(model.get_weights()) - before


@pytest.mark.parametrize("kind", KINDS)
def test_an_examples_gradient_is_clipped_at_the_projected_weights_and_moves_those_behind(tmp_path, kind):
    private, model = examples(7), network()
    moved = train(tmp_path, private, model, held(model, kind))
    projected = network()
    holding = held(projected, kind)
    holding.update(0.0)
    images, labels = tf.constant(private.images, tf.float32) / 255.0, tf.constant(private.labels)
    behind = clipped_gradient_sum(projected, images, labels, tf.ones(7), CLIP)
    with holding.projected():
        at = clipped_gradient_sum(projected, images, labels, tf.ones(7), CLIP)
    np.testing.assert_allclose(moved, -RATE * flat(at) / BATCH, rtol=1e-4, atol=1e-6)
    if kind != "zeros":  # whose schedule starts with none
        assert np.linalg.norm(flat(at) - flat(behind)) > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_one_example_moves_the_weights_behind_by_at_most_the_clip(tmp_path, kind):
    some = examples(6)
    without = Split(images=some.images[:-1], labels=some.labels[:-1])
    moves = []
    for name, private in (("with", some), ("without", without)):
        model = network()
        moves.append(train(tmp_path / name, private, model, held(model, kind)))
    assert 0 < np.linalg.norm(moves[0] - moves[1]) * BATCH / RATE <= CLIP * (1 + 1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_an_interruption_inside_a_step_leaves_the_weights_behind_in_the_model_and_in_the_journal(tmp_path, kind):
    class Interrupting(Split):
        def take(self, indices):
            seen.append(flat(model.get_weights()))
            if len(seen) == 3:
                raise Interrupted(2)
            return super().take(indices)

    def look(step: int) -> None:
        behind.append(flat(model.get_weights()))

    some, model, seen, behind = examples(9), network(), [], []
    private = Interrupting(images=some.images, labels=some.labels)
    with pytest.raises(Interrupted):
        train(tmp_path, private, model, held(model, kind), steps=5, on_step=look)
    assert not np.array_equal(seen[-1], behind[-1])  # inside the step the projected weights were in place
    np.testing.assert_array_equal(flat(model.get_weights()), behind[-1])
    journal = Journal(tmp_path, 30.0)
    assert journal.executed == 3
    np.testing.assert_array_equal(flat(journal.load()[:4]), behind[-1])
    journal.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_finished_training_that_is_taken_up_again_ends_in_the_same_projected_weights(tmp_path, kind):
    """What was chosen on the way (which zeros, which values) is not what would be chosen of the last weights."""
    ends = []
    for _ in range(2):
        model = network()
        holding = held(model, kind)
        train(tmp_path, examples(9), model, holding, noise=1.0, steps=6, probability=0.5)
        holding.settle()
        ends.append(flat(model.get_weights()))
    np.testing.assert_array_equal(*ends)


def test_a_projection_that_cannot_be_made_leaves_the_weights_behind():
    class Breaking(FixedZeros):
        def __call__(self, latent):
            raise Interrupted(15)

    model = network()
    first, second = kernels(model).values()
    holding = Held(
        [
            (first.variable, [FixedZeros(np.zeros_like(first.variable))]),
            (second.variable, [Breaking(second.variable.numpy())]),
        ]
    )
    before = flat(model.get_weights())
    with pytest.raises(Interrupted), holding.projected():
        pass
    np.testing.assert_array_equal(flat(model.get_weights()), before)
