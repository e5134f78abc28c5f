"""DP-SGD: what a step adds to the weights, and when."""

import numpy as np
import pytest
import tensorflow as tf

from components.common.errors import ModelError
from components.common.examples import Split, scaled
from components.common.legacy_keras import keras
from components.dp_training.config import TrainerConfig
from components.dp_training.core import train_privately
from components.dp_training.per_example import clipped_gradient_sum
from components.privacy.accounting import Mechanism

NEVER, ALWAYS = 1e-300, 1.0  # sampling probabilities


def config(**changes) -> TrainerConfig:
    base = {
        "population": 90,
        "expected_batch_size": 30,
        "steps": 1,
        "l2_norm_clip": 0.1,
        "learning_rate": 1.0,
        "momentum": 0.0,
    }
    return TrainerConfig(**{**base, **changes})


def mechanism(noise: float, probability: float, steps: int = 1) -> Mechanism:
    return Mechanism(noise_multiplier=noise, sampling_probability=probability, steps=steps)


def flat(weights) -> np.ndarray:
    return np.concatenate([np.ravel(w) for w in weights])


def moved(model: keras.Model, private: Split, settings: TrainerConfig, executed: Mechanism, **more) -> np.ndarray:
    """How far every weight moves, float64 [weights]."""
    before = flat(model.get_weights()).astype(np.float64)
    train_privately(model, private, settings, executed, **more)
    return flat(model.get_weights()) - before


def wide() -> keras.Model:
    """20,000 weights, whose gradient is zero on black images."""
    layers = keras.layers
    keras.utils.set_random_seed(1)
    image = layers.Input((10, 10, 1))
    return keras.Model(image, layers.Dense(200, use_bias=False)(layers.Flatten()(image)))


def black(count: int) -> Split:
    return Split(images=np.zeros((count, 10, 10, 1), np.uint8), labels=np.arange(count, dtype=np.int64))


@pytest.mark.parametrize(
    ("probability", "noise", "clip", "batch"),
    [
        (ALWAYS, 2.0, 0.1, 30),
        (ALWAYS, 1.0, 0.5, 10),
        (NEVER, 2.0, 0.1, 30),
        (NEVER, 2.0, 0.5, 30),
        (NEVER, 1.0, 0.1, 10),
    ],
)
def test_without_a_gradient_the_weights_move_by_noise_of_the_promised_size(probability, noise, clip, batch):
    settings = config(l2_norm_clip=clip, expected_batch_size=batch)
    found = moved(wide(), black(5), settings, mechanism(noise, probability))
    assert np.std(found) == pytest.approx(noise * clip / batch, rel=0.03)
    assert abs(np.mean(found)) < 5.5 * np.std(found) / np.sqrt(found.size)


def test_the_noise_is_gaussian_and_independent_between_weights_and_runs():
    first = moved(wide(), black(5), config(), mechanism(2.0, NEVER))
    second = moved(wide(), black(5), config(), mechanism(2.0, NEVER))
    inside = np.mean(np.abs(first) < np.std(first))
    assert inside == pytest.approx(0.6827, abs=0.02)
    for other in (second, np.roll(first, 1), np.roll(first, 200)):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.04


def test_every_empty_step_draws_noise_of_its_own():
    found = moved(wide(), black(5), config(), mechanism(2.0, NEVER, steps=16))
    assert np.std(found) == pytest.approx(4 * 2.0 * 0.1 / 30, rel=0.03)


@pytest.fixture(scope="module")
def expected(make_model, public):
    """The clipped sum over all 90 examples, from the function that is tested beside this one."""
    images, labels = tf.constant(scaled(public.images)), tf.constant(public.labels)
    return flat(clipped_gradient_sum(make_model(), images, labels, tf.ones(90), 0.1))


@pytest.mark.parametrize("physical", [7, 89, 90, 256])
def test_the_physical_batch_size_does_not_change_the_sum(make_model, public, expected, physical):
    found = moved(make_model(), public, config(physical_batch_size=physical), mechanism(0.0, ALWAYS))
    np.testing.assert_allclose(found, -expected / 30, atol=2e-6)
    assert np.linalg.norm(found) > 1e-3


@pytest.mark.parametrize("batch", [10, 90])
def test_the_sum_is_divided_by_the_expected_batch_size_not_by_the_realised_one(make_model, public, expected, batch):
    found = moved(make_model(), public, config(expected_batch_size=batch), mechanism(0.0, ALWAYS))
    np.testing.assert_allclose(found, -expected / batch, atol=2e-6)


def test_a_step_adds_only_what_was_sampled_in_it(make_model, public, expected):
    """At a rate so small that the gradient stays, three steps move the weights three times as far as one."""
    settings = config(learning_rate=0.01)
    found = moved(make_model(), public, settings, mechanism(0.0, ALWAYS, steps=3))
    assert np.linalg.norm(found) == pytest.approx(3 * 0.01 * np.linalg.norm(expected) / 30, rel=0.05)


def test_one_example_moves_the_weights_by_at_most_the_clip_over_the_expected_batch_size(make_model, public):
    fewer = Split(images=public.images[1:], labels=public.labels[1:])
    settings = config(l2_norm_clip=0.05)
    with_it = moved(make_model(), public, settings, mechanism(0.0, ALWAYS))
    without = moved(make_model(), fewer, settings, mechanism(0.0, ALWAYS))
    assert 0.5 * 0.05 / 30 < np.linalg.norm(with_it - without) <= 1.001 * 0.05 / 30


def test_each_example_enters_with_the_reserved_probability_of_its_own():
    """One class an example: whose logits grew is who was sampled. Three runs, a quarter of 1,000 each."""
    layers, sampled = keras.layers, []
    private = Split(images=np.full((1000, 1, 1, 1), 255, np.uint8), labels=np.arange(1000, dtype=np.int64))
    settings = config(population=1000, l2_norm_clip=1.0, expected_batch_size=1, physical_batch_size=500)
    for _ in range(3):
        model = keras.Sequential([layers.Input((1, 1, 1)), layers.Flatten(), layers.Dense(1000, use_bias=False)])
        model.set_weights([np.zeros((1, 1000), np.float32)])
        sampled.append(moved(model, private, settings, mechanism(0.0, 0.25)) > 0)
    counts = [int(np.sum(who)) for who in sampled]
    assert all(abs(count - 250) < 5 * np.sqrt(1000 * 0.25 * 0.75) for count in counts)
    assert counts != [250] * 3  # Poisson: the size of the batch varies
    assert abs(np.mean(sampled[0] & sampled[1]) - 0.25**2) < 0.04


def test_on_step_is_called_with_1_2_3_before_each_step_touches_the_model(make_model, public):
    model, seen = make_model(), []
    start = flat(model.get_weights())

    def on_step(step: int) -> None:
        seen.append((step, flat(model.get_weights())))

    train_privately(model, public, config(), mechanism(1.0, 0.3, steps=3), on_step)
    assert [step for step, _ in seen] == [1, 2, 3]
    np.testing.assert_array_equal(seen[0][1], start)
    states = [weights for _, weights in seen] + [flat(model.get_weights())]
    assert all(not np.array_equal(a, b) for a, b in zip(states, states[1:], strict=False))


def test_what_on_step_raises_stops_training_before_the_step(make_model, public):
    model, before = make_model(), []

    def on_step(step: int) -> None:
        before.append(flat(model.get_weights()))
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_privately(model, public, config(), mechanism(1.0, 0.3, steps=5), on_step)
    assert len(before) == 2
    np.testing.assert_array_equal(flat(model.get_weights()), before[1])


def test_no_steps_change_nothing(make_model, public):
    assert np.all(moved(make_model(), public, config(), mechanism(1.0, 0.3, steps=0)) == 0)


@pytest.mark.parametrize("ema", [0.05, 0.99])
def test_the_model_ends_as_the_moving_average_of_its_weights(make_model, public, ema):
    """Against the recursion, warmed up by (1 + t) / (10 + t), over the same three steps without noise."""
    seen = []
    plain = make_model()
    remember = lambda step: seen.append(flat(plain.get_weights()))  # noqa: E731
    train_privately(plain, public, config(steps=3), mechanism(0.0, ALWAYS, steps=3), remember)
    average = seen[0]
    for step, weights in enumerate([*seen[1:], flat(plain.get_weights())]):
        decay = min(ema, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weights
    averaged = make_model()
    train_privately(averaged, public, config(steps=3, ema=ema), mechanism(0.0, ALWAYS, steps=3))
    np.testing.assert_allclose(flat(averaged.get_weights()), average, atol=2e-6)
    assert np.max(np.abs(average - flat(plain.get_weights()))) > 1e-5


def test_weights_that_are_not_finite_are_refused_at_the_end(make_model, public):
    with pytest.raises(
        ModelError, match="^private training must end with finite weights. Lower trainer.learning_rate$"
    ):
        train_privately(make_model(), public, config(learning_rate=1e38), mechanism(1e6, 0.5, steps=3))


def test_a_model_that_mixes_examples_is_refused_before_the_first_step(public):
    layers = keras.layers
    mixing = keras.Sequential(
        [layers.Input((12, 12, 1)), layers.BatchNormalization(), layers.Flatten(), layers.Dense(3)]
    )
    called = []
    with pytest.raises(ModelError, match="must not mix examples"):
        train_privately(mixing, public, config(), mechanism(1.0, 0.5), called.append)
    assert called == []
