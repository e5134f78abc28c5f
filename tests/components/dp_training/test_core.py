"""The training loop: what the accountant assumes is what is executed, killed or not."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from components.common.errors import Interrupted, ModelError
from components.common.examples import Split
from components.common.legacy_keras import keras
from components.dp_training.config import TrainerConfig
from components.dp_training.core import train_privately
from components.dp_training.journal import Journal
from components.dp_training.per_example import clipped_gradient_sum
from components.privacy.accounting import Mechanism

SHAPE, CLASSES = (4, 4, 1), 3
NO_NOISE = 1e-9


def network() -> keras.Model:
    layers = keras.layers
    return keras.Sequential([layers.Input(SHAPE), layers.Flatten(), layers.Dense(CLASSES, kernel_initializer="ones")])


def examples(count: int, seed: int = 0) -> Split:
    random = np.random.default_rng(seed)
    return Split(images=random.integers(0, 256, (count, *SHAPE), np.uint8), labels=random.integers(0, CLASSES, count))


def config(**changes) -> TrainerConfig:
    settings = {"population": 100, "expected_batch_size": 20, "steps": 3, "l2_norm_clip": 0.5, "learning_rate": 1.0}
    return TrainerConfig(**{**settings, "momentum": 0.0, **changes})


def train(folder: Path, private: Split, settings: TrainerConfig, noise=NO_NOISE, probability=1.0, **more) -> np.ndarray:
    """Trains a fresh network; gives the change of its weights, flat."""
    model = more.pop("model", None) or network()
    before = np.concatenate([w.ravel() for w in model.get_weights()])
    mechanism = Mechanism(noise_multiplier=noise, sampling_probability=probability, steps=settings.steps)
    journal = Journal(folder, settings.checkpoint_seconds)
    train_privately(model, private, settings, mechanism, journal, **more)
    journal.close()
    return np.concatenate([w.ravel() for w in model.get_weights()]) - before


def clipped_sum(private: Split, clip: float) -> np.ndarray:
    images = tf.constant(private.images, tf.float32) / 255.0
    sums = clipped_gradient_sum(network(), images, tf.constant(private.labels), tf.ones(len(private)), clip)
    return np.concatenate([s.numpy().ravel() for s in sums])


def test_the_sum_is_divided_by_the_expected_batch_size_and_not_by_the_realised_one(tmp_path):
    private = examples(7)
    moved = train(tmp_path, private, config(steps=1))
    np.testing.assert_allclose(moved, -clipped_sum(private, 0.5) / 20, rtol=1e-5, atol=1e-7)


def test_each_step_starts_a_new_sum(tmp_path):
    """At a tiny rate the gradient stays what it was, so three steps move three times as far as one."""
    one, three = (train(tmp_path / str(n), examples(7), config(steps=n, learning_rate=1e-3)) for n in (1, 3))
    np.testing.assert_allclose(three, 3 * one, rtol=0.02, atol=1e-7)


@pytest.mark.parametrize("physical", [1, 3, 7, 64])
def test_the_physical_batch_does_not_change_a_step(tmp_path, physical):
    private = examples(7)
    moved = train(tmp_path, private, config(steps=1, physical_batch_size=physical))
    np.testing.assert_allclose(moved, -clipped_sum(private, 0.5) / 20, rtol=1e-4, atol=1e-6)


def test_an_empty_batch_is_a_step_of_noise(tmp_path):
    moved = train(tmp_path, examples(5), config(steps=1), noise=4.0, probability=1e-12)
    noise = moved / (4.0 * 0.5 / 20)
    assert 1e-8 < stats.chi2.sf((noise**2).sum(), len(noise)) < 1 - 1e-8
    assert len(np.unique(moved)) == len(moved)


def test_noise_is_drawn_anew_each_step_and_has_the_stated_deviation(tmp_path):
    steps, seen, model = 400, [], network()

    def look(step):
        seen.append(np.concatenate([w.ravel() for w in model.get_weights()]))

    train(tmp_path, examples(1), config(steps=steps), noise=2.0, probability=1e-12, on_step=look, model=model)
    draws = np.diff(np.array(seen), axis=0)
    assert np.std(draws) == pytest.approx(2.0 * 0.5 / 20, rel=0.05)
    between_steps = np.corrcoef(draws[1:].ravel(), draws[:-1].ravel())[0, 1]
    between_parameters = np.corrcoef(draws.T)[np.triu_indices(draws.shape[1], 1)]
    assert abs(between_steps) < 0.07 and np.abs(between_parameters).max() < 0.4


def test_two_trainers_with_the_same_inputs_draw_other_noise_and_other_samples(tmp_path):
    """What they are given, a configuration and examples, tells nothing of either: a seed taken from it would."""
    for name, more in (("noise", {"noise": 4.0, "probability": 1e-12}), ("samples", {"probability": 0.5})):
        moved = [train(tmp_path / f"{name}{i}", examples(40), config(steps=2), **more) for i in range(3)]
        apart = [np.abs(a - b) for a, b in itertools.combinations(moved, 2)]
        assert all(np.mean(difference > 1e-6) > 0.9 for difference in apart), name


def test_augmentations_are_drawn_anew_by_each_trainer(tmp_path):
    settings = config(steps=2, augmentations=("shift",))
    first, second = (train(tmp_path / str(i), examples(9), settings) for i in range(2))
    assert np.abs(first - second).max() > 1e-6


def test_a_fixed_seed_repeats_a_training_and_another_does_not(tmp_path):
    moved = [
        train(tmp_path / str(i), examples(40), config(insecure_fixed_seed=seed), noise=1.0, probability=0.5)
        for i, seed in enumerate((3, 3, 4))
    ]
    np.testing.assert_allclose(moved[0], moved[1], rtol=1e-5, atol=1e-6)
    assert np.abs(moved[0] - moved[2]).max() > 1e-3


def test_a_run_that_goes_on_does_not_draw_the_noise_again_that_it_has_drawn(tmp_path):
    """The keys are kept nowhere: a second process has others."""
    seen = []
    for _ in range(2):
        with pytest.raises(Interrupted):
            train(
                tmp_path,
                examples(1),
                config(steps=9),
                noise=2.0,
                probability=1e-12,
                on_step=stop_at(2, Interrupted(15)),
            )
        state = Journal(tmp_path, 30.0)
        seen.append((state.executed, np.concatenate([a.ravel() for a in state.load()[:2]])))
        state.close()
        (tmp_path / "executed").unlink()
        (tmp_path / "state.npz").unlink()
    assert [executed for executed, _ in seen] == [2, 2]
    assert np.all(np.abs(seen[0][1] - seen[1][1]) > 1e-7)


def test_one_example_more_changes_one_piece_of_a_step(tmp_path):
    """What rounding makes of the others does not depend on it."""

    class Watched(Split):
        def take(self, indices):
            read[-1].append(tuple(indices))
            return super().take(indices)

    read: list[list] = []
    for count in (40, 41):
        read.append([])
        private = examples(41)
        watched = Watched(images=private.images[:count], labels=private.labels[:count])
        train(tmp_path / str(count), watched, config(steps=1, insecure_fixed_seed=1, physical_batch_size=16))
    assert len(set(read[0]) ^ set(read[1])) <= 2 and len(read[0]) > 2


def test_a_step_is_announced_and_counted_once_before_it_touches_an_example(tmp_path):
    class Watched(Split):
        def take(self, indices):
            read.append((announced[-1], int.from_bytes((tmp_path / "executed").read_bytes(), "little")))
            return super().take(indices)

    announced, read = [], []
    private = examples(4)
    watched = Watched(images=private.images, labels=private.labels)
    train(tmp_path, watched, config(steps=5), on_step=announced.append)
    assert announced == [1, 2, 3, 4, 5]
    assert read == [(n, n) for n in announced]


def test_one_example_moves_the_weights_by_at_most_the_clip(tmp_path):
    with_it, without = examples(6), examples(6)
    without = Split(images=without.images[:-1], labels=without.labels[:-1])
    moved = train(tmp_path / "a", with_it, config(steps=1)) - train(tmp_path / "b", without, config(steps=1))
    assert 0 < np.linalg.norm(moved) * 20 <= 0.5 * (1 + 1e-4)


def test_an_example_that_has_no_finite_gradient_adds_nothing_and_takes_no_other_with_it(tmp_path):
    """NaN from one example would otherwise reach every weight, whatever the clip."""
    images = np.zeros((3, 4, 4, 1), np.uint8)
    images[1] = 255
    images[2, 0] = 100
    labels = np.array([0, 1, 2])

    def unbounded():
        layers = keras.layers
        divide = layers.Lambda(lambda x: x / (1 - x))
        return keras.Sequential(
            [layers.Input(SHAPE), divide, layers.Flatten(), layers.Dense(3, kernel_initializer="ones")]
        )

    with_it, without = Split(images=images, labels=labels), Split(images=images[[0, 2]], labels=labels[[0, 2]])
    moved = train(tmp_path / "with", with_it, config(steps=1), model=unbounded())
    expected = train(tmp_path / "without", without, config(steps=1), model=unbounded())
    np.testing.assert_allclose(moved, expected, atol=1e-6)
    assert np.linalg.norm(moved) > 0.01


def test_copies_that_are_equal_count_as_one_example(tmp_path):
    """A mirror image of a symmetric image is the image: four copies average to its own gradient, clipped once."""
    private = examples(7)
    symmetric = Split(images=np.minimum(private.images, private.images[:, :, ::-1]), labels=private.labels)
    settings = config(steps=1, augmentations=("flip",), augmentation_multiplicity=4, physical_batch_size=3)
    moved = train(tmp_path, symmetric, settings)
    np.testing.assert_allclose(moved, -clipped_sum(symmetric, 0.5) / 20, rtol=1e-4, atol=1e-6)


def test_weights_that_are_no_longer_finite_are_one_clear_line(tmp_path):
    with pytest.raises(ModelError, match="finite weights. Lower its learning_rate"):
        train(tmp_path, examples(5), config(steps=60, learning_rate=1e37), noise=100.0)


@pytest.mark.parametrize("labels", [np.zeros(8, np.int64), np.arange(8) % CLASSES])
@pytest.mark.parametrize("count", [0, 1, 8])
def test_one_class_one_example_and_none_train(tmp_path, labels, count):
    private = Split(images=examples(8).images[:count], labels=labels[:count])
    assert np.all(np.isfinite(train(tmp_path, private, config(), noise=1.0, probability=0.5)))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_schedule_ends_near_zero(tmp_path, schedule):
    seen, model = [], network()
    settings = config(steps=40, schedule=schedule)

    def look(step):
        seen.append(np.concatenate([w.ravel() for w in model.get_weights()]))

    train(tmp_path, examples(1), settings, noise=1.0, probability=1e-12, on_step=look, model=model)
    sizes = np.linalg.norm(np.diff(np.array(seen), axis=0), axis=1)
    assert sizes[-3:].mean() < 0.15 * sizes[:3].mean()


def test_adam_and_momentum_differ_from_plain_steps(tmp_path):
    plain = train(tmp_path / "p", examples(9), config(steps=4))
    others = [config(steps=4, optimizer="adam", learning_rate=0.1), config(steps=4, momentum=0.9)]
    for i, settings in enumerate(others):
        assert np.linalg.norm(train(tmp_path / str(i), examples(9), settings) - plain) > 0.01


def test_ema_leaves_the_average_in_the_model(tmp_path):
    seen, model = [np.zeros(51)], network()
    start = np.concatenate([w.ravel() for w in model.get_weights()])

    def look(step):
        seen.append(np.concatenate([w.ravel() for w in model.get_weights()]) - start)

    ended = train(tmp_path, examples(9), config(steps=6, ema=0.5), on_step=look, model=model)
    last = train(tmp_path / "raw", examples(9), config(steps=6))
    average = np.zeros(51)
    for step, weights in enumerate([*seen[2:], last], start=1):
        decay = min(0.5, step / (9 + step))
        average = decay * average + (1 - decay) * weights
    np.testing.assert_allclose(ended, average, rtol=1e-3, atol=1e-5)


def test_batches_of_many_sizes_are_traced_once_as_those_of_one_are(tmp_path):
    """TensorFlow warns, in the log, of what it traces often."""
    calls = {}
    for name, probability in (("one", 1.0), ("many", 0.5)):
        seen = calls.setdefault(name, [])
        layers = keras.layers
        counting = layers.Lambda(lambda x, seen=seen: (seen.append(x.shape), x)[1])
        model = keras.Sequential([layers.Input(SHAPE), counting, layers.Flatten(), layers.Dense(CLASSES)])
        train(tmp_path / name, examples(40), config(steps=6), noise=1.0, probability=probability, model=model)
    assert len(calls["one"]) == len(calls["many"]) > 0


def stop_at(step: int, error: BaseException):
    def on_step(number):
        if number == step:
            raise error

    return on_step


def test_an_interrupted_run_goes_on_from_where_it_was_and_never_passes_the_reserved_steps(tmp_path):
    private, announced = examples(9), []
    with pytest.raises(Interrupted):
        train(tmp_path, private, config(steps=8, momentum=0.9, ema=0.5), on_step=stop_at(5, Interrupted(15)))
    journal = Journal(tmp_path, 30.0)
    assert int(journal.load()[2]) == 4  # saved at once: the optimizer has made four steps
    journal.close()
    moved = train(tmp_path, private, config(steps=8, momentum=0.9, ema=0.5), on_step=announced.append)
    assert announced == [6, 7, 8]  # the fifth was counted and is lost
    assert np.linalg.norm(moved) > 0
    again = train(tmp_path, private, config(steps=8, momentum=0.9, ema=0.5), on_step=announced.append)
    assert announced == [6, 7, 8]
    np.testing.assert_allclose(again, moved)


def test_what_is_saved_is_weights_optimizer_and_averages_only(tmp_path):
    model = network()
    train(tmp_path, examples(9), config(steps=4, momentum=0.9), model=model)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["executed", "state.npz"]
    assert {p.stat().st_mode & 0o777 for p in tmp_path.iterdir()} == {0o600}
    assert tmp_path.stat().st_mode & 0o077 in (0, 0o055)
    shapes = [(16, 3), (3,)]
    with np.load(tmp_path / "state.npz") as saved:
        assert [saved[name].shape for name in saved.files] == [*shapes, (), *shapes, *shapes]
    assert (tmp_path / "executed").read_bytes() == (4).to_bytes(8, "little")


KILLED = """
import sys; from pathlib import Path
from tests.components.dp_training.test_core import config, examples, train
train(Path(sys.argv[1]), examples(9), config(steps=100000, checkpoint_seconds=0.05), noise=1.0, probability=0.3)
"""


@pytest.mark.parametrize(("file", "seconds"), [("executed", 0.0), ("executed", 0.07), ("state.npz", 0.1)])
def test_a_kill_loses_the_steps_since_the_last_save_and_counts_them(tmp_path, file, seconds):
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], env={**os.environ, "PYTHONPATH": os.getcwd()}
    )
    seen = tmp_path / file
    while not (seen.exists() and seen.stat().st_size) and child.poll() is None:
        time.sleep(0.005)
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    child.wait()
    journal = Journal(tmp_path, 30.0)
    executed, state = journal.executed, journal.load()
    journal.close()
    assert executed > 0
    assert state is not None or file == "executed"
    completed = 0 if state is None else int(state[2])  # the steps that the optimizer has made
    assert completed <= executed
    announced = []
    train(tmp_path, examples(9), config(steps=executed + 2), noise=1.0, probability=0.3, on_step=announced.append)
    assert announced == [executed + 1, executed + 2]


class Noisy(keras.layers.Layer):
    """Draws from a generator of its own."""

    def __init__(self):
        super().__init__()
        self.generator = tf.random.Generator.from_seed(1)

    def call(self, inputs):
        return inputs + self.generator.normal(tf.shape(inputs))


def test_the_state_of_a_generator_does_not_tell_how_many_examples_were_drawn(tmp_path):
    noisy = Noisy()
    layers = keras.layers
    model = keras.Sequential([layers.Input(SHAPE), noisy, layers.Flatten(), layers.Dense(CLASSES)])
    before = noisy.generator.state.numpy()
    train(tmp_path, examples(7), config(steps=2), model=model)
    np.testing.assert_array_equal(noisy.generator.state, before)
