"""The sampler's inclusion rate and independence, and the noise's distribution and independence."""

import numpy as np
import pytest
from scipy import stats

from components.dp_training.randomness import GaussianNoise, PoissonSampler

PROBABILITY, POPULATION, STEPS = 0.1, 400, 2000


@pytest.fixture(scope="module")
def inclusions() -> np.ndarray:
    """bool [steps, population]."""
    sampler, found = PoissonSampler(PROBABILITY), np.zeros((STEPS, POPULATION), bool)
    for row in found:
        row[sampler.draw(POPULATION)] = True
    return found


def test_every_example_enters_at_the_stated_rate(inclusions):
    counts = inclusions.sum(0)
    assert stats.binomtest(int(counts.sum()), STEPS * POPULATION, PROBABILITY).pvalue > 1e-8
    spread = ((counts - STEPS * PROBABILITY) ** 2 / (STEPS * PROBABILITY * (1 - PROBABILITY))).sum()
    assert 1e-8 < stats.chi2.sf(spread, POPULATION) < 1 - 1e-8


def test_the_batch_size_is_binomial_and_not_fixed(inclusions):
    sizes = inclusions.sum(1)
    assert np.var(sizes) == pytest.approx(POPULATION * PROBABILITY * (1 - PROBABILITY), rel=0.2)


def test_examples_and_steps_are_independent(inclusions):
    centred = (inclusions - PROBABILITY) / np.sqrt(PROBABILITY * (1 - PROBABILITY))
    between_examples = centred.T @ centred / np.sqrt(STEPS)
    off = between_examples[np.triu_indices(POPULATION, 1)]
    assert np.std(off) == pytest.approx(1, abs=0.05) and np.abs(off).max() < 9  # of 79,800 skewed ones
    between_steps = (centred[1:] * centred[:-1]).sum() / np.sqrt((STEPS - 1) * POPULATION)
    assert abs(between_steps) < 6


def test_a_small_population_gives_empty_batches():
    sampler = PoissonSampler(0.01)
    assert sum(len(sampler.draw(5)) == 0 for _ in range(200)) > 150
    assert len(PoissonSampler(1.0).draw(7)) == 7


def test_the_noise_is_gaussian_with_the_stated_deviation():
    draw = GaussianNoise(3.0).draw(200_000).numpy()
    assert stats.kstest(draw / 3.0, "norm").pvalue > 1e-8
    assert draw.dtype == np.float32


def test_draws_are_independent_over_calls_and_coordinates():
    noise = GaussianNoise(1.0)
    first, second = noise.draw(100_000).numpy(), noise.draw(100_000).numpy()
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.02


def test_no_two_runs_share_their_secrets_unless_a_seed_is_fixed():
    draws = [GaussianNoise(1.0, seed).draw(8).numpy().tolist() for seed in (None, None, 5, 5)]
    assert draws[0] != draws[1] and draws[2] == draws[3]
    samples = [PoissonSampler(0.5, seed).draw(64).tolist() for seed in (None, None, 5, 5)]
    assert samples[0] != samples[1] and samples[2] == samples[3]
