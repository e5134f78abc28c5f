"""The sampler's rate and independence, the pieces, and what an attacker sees of one example in a noised sum."""

import math
from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from components.dp_training.per_example.terms import Direct, Outer
from components.dp_training.randomness import NoisedSum, Pieces, PoissonSampler, rounding_of_sums
from components.privacy.gaussian import RoundedGaussian

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
    assert len(PoissonSampler(1.0).draw(7)) == 7 and len(PoissonSampler(0.5).draw(0)) == 0


def test_a_large_population_is_read_to_its_end():
    taken = PoissonSampler(0.5, 1).draw(100_000)
    assert np.all(np.diff(taken) > 0) and taken[-1] > 99_900
    assert len(taken) == pytest.approx(50_000, abs=1000)


@pytest.mark.parametrize("probability", [1e-12, 0.1, 2048 / 18000, 1 / 3, 1 - 2**-53, 1.0])
def test_the_sampling_probability_is_never_above_the_accountants(probability):
    """To 64 digits below it: an accountant that is told more than is done states more than is spent."""
    exact, accounted = Fraction(PoissonSampler(probability)._below, 2**64), Fraction(probability)
    assert accounted - Fraction(1, 2**64) < exact <= accounted


def test_pieces_hold_every_example_once_and_are_no_larger_than_memory_allows():
    sampled = np.arange(0, 4000, 2)
    for physical in (1, 3, 64, 256, 5000):
        parts = Pieces(2048, physical).of(sampled)
        assert sorted(np.concatenate(parts)) == sampled.tolist()
        assert all(0 < len(p) <= physical for p in parts)
    assert len(Pieces(2048, 256).of(sampled)) < 13
    assert Pieces(2048, 256).of(np.empty(0, np.int64)) == []


def test_each_example_goes_to_a_piece_by_a_chance_of_its_own():
    """So one more example moves no other: then rounding elsewhere is what it would have been."""
    pieces, together = Pieces(60, 20, 3), np.zeros((60, 60))
    count = pieces._count
    for _ in range(2000):
        chosen = pieces._bits.below(count, 60)
        together += chosen[:, None] == chosen[None]
    off = together[np.triu_indices(60, 1)] / 2000
    assert count == 6 and off.mean() == pytest.approx(1 / count, rel=0.02)
    assert np.abs(off - 1 / count).max() < 6 * math.sqrt(1 / count / 2000)


@pytest.mark.parametrize("physical", [1, 7, 64, 256, 4096])
@pytest.mark.parametrize("crowded", [1, 5, 256, 257, 363, 700, 1024])
def test_a_piece_of_any_size_is_cut_so_that_its_rounding_is_what_was_counted(physical, crowded):
    sizes = np.array([len(p) for p in np.array_split(np.arange(crowded), Pieces(1, physical)._parts(crowded))])
    roundings = 2 * (sizes * (sizes + 2)).sum() * 2.0**-24
    assert sizes.sum() == crowded and sizes.max() <= physical
    assert roundings <= rounding_of_sums(physical) < 0.0085


def test_rounding_of_a_sum_stays_within_its_bound_at_the_worst_input():
    """128 vectors of one direction, each a hair below half a unit of what the sum then is, are lost one by one."""
    rows = np.full((128, 50), 2.0**-25 * (1 - 2.0**-20), np.float32)
    rows[0] = 1.0
    spread = np.where(np.arange(128)[:, None] % 2, 1.0, 1.0 + 2.0**-23).astype(np.float32) * np.ones((128, 50), "f4")
    for vectors in (rows, spread, spread[::-1] / 3):
        clip = np.linalg.norm(vectors.astype(np.float64), axis=1).max()
        exact = vectors.astype(np.float64).sum(0)
        outer = Outer(tf.constant(vectors[:, None, :]), tf.ones([128, 1, 1]), (50, 1))
        for term in (Direct(tf.constant(vectors)), outer):
            summed = np.ravel(term.weighted_sum(tf.ones(128)).numpy())
            moved = np.linalg.norm(summed - exact)
            assert moved <= 128 * (128 + 2) * 2.0**-24 * clip < rounding_of_sums(128) / 2 * clip


def test_norms_in_float32_are_low_by_less_than_is_counted():
    """A large number and many whose squares, added to it one by one, would be lost."""
    for size in (26_000, 2**22):
        gradient = np.full((1, size), 2.0**-12.6, np.float32)
        gradient[0, 0] = 1.0
        norm = math.sqrt(Direct(tf.constant(gradient)).squared_norms().numpy()[0])
        assert abs(norm / np.linalg.norm(gradient.astype(np.float64)) - 1) < 2.0**-13


NOISE, CLIP, SIZE = 1.2, 0.7, 26_000


def test_the_sensitivity_is_reached_by_no_two_sums():
    """The worst two: apart by the clip, each coordinate rounded away from the other's."""
    noised = NoisedSum(NOISE, CLIP, SIZE, 256)
    assert noised.grid <= 2.0**-20 * NOISE * CLIP
    low = np.full(SIZE, 0.499 * noised.grid)
    high = low + CLIP / math.sqrt(SIZE)
    high = (np.floor(high / noised.grid) + 0.501) * noised.grid
    apart = np.linalg.norm(np.rint(high / noised.grid) - np.rint(low / noised.grid)) * noised.grid
    assert np.linalg.norm(high - low) < apart <= np.linalg.norm(high - low) + math.sqrt(SIZE) * noised.grid
    assert apart + rounding_of_sums(256) * CLIP < noised.sensitivity  # what the grid takes is counted apart
    assert noised.stddev == NOISE * noised.sensitivity


def test_the_sensitivity_has_a_step_of_the_grid_for_each_coordinate():
    one, four = (NoisedSum(NOISE, CLIP, size, 256) for size in (SIZE, 4 * SIZE))
    assert four.grid == one.grid
    assert four.sensitivity - one.sensitivity == pytest.approx(math.sqrt(SIZE) * one.grid, rel=1e-6)


def test_the_noise_is_about_a_hundredth_above_that_of_real_numbers():
    """What is counted for rounding is paid in noise, not in ε."""
    for size in (26_000, 4_000_000):
        assert NOISE * CLIP < NoisedSum(NOISE, CLIP, size, 256).stddev < 1.01 * NOISE * CLIP


def test_what_is_released_lies_on_the_grid_and_is_the_sum_with_noise_of_the_stated_deviation():
    noised, total = NoisedSum(NOISE, CLIP, 200_000, 256), np.linspace(-3.0, 3.0, 200_000)
    released = noised.release(total.copy())
    assert released.dtype == np.float32
    assert stats.kstest((released - total) / noised.stddev, "norm").pvalue > 1e-8
    assert np.all(np.rint(released[np.abs(released) < 1] / noised.grid) * noised.grid == released[np.abs(released) < 1])


def test_a_sum_goes_to_the_nearest_step_of_the_grid(monkeypatch):
    monkeypatch.setattr(RoundedGaussian, "add_to", lambda self, steps: None)
    noised = NoisedSum(NOISE, CLIP, 6, 256)
    released = noised.release(np.array([0.4, 0.6, -0.4, -0.6, 7.49, -1e6 - 0.51]) * noised.grid)
    assert (released / noised.grid).tolist() == [0, 1, 0, -1, 7, -1_000_001]


def test_noise_that_cannot_be_drawn_stops_the_release(monkeypatch):
    """The draw runs in a thread of its own, whose failure must not leave a sum without noise."""

    def broken(self, steps):
        raise ArithmeticError("no noise")

    monkeypatch.setattr(RoundedGaussian, "add_to", broken)
    with pytest.raises(ArithmeticError, match="no noise"):
        NoisedSum(NOISE, CLIP, 6, 256).release(np.zeros(6))


def test_no_two_releases_share_their_noise():
    noised = NoisedSum(NOISE, CLIP, 50, 256)
    releases = np.stack([noised.release(np.zeros(50)) for _ in range(40)])
    assert len(np.unique(releases, axis=0)) == 40 and np.mean(np.diff(releases, axis=0) == 0) < 0.01


def test_sums_that_no_grid_holds_are_held_to_its_ends():
    released = NoisedSum(NOISE, CLIP, 2, 256).release(np.array([1e300, -1e300]))
    assert np.all(np.isfinite(released)) and released[0] > 1e11 and released[1] < -1e11


def test_draws_are_independent_over_calls_and_coordinates():
    noised = NoisedSum(1.0, 1.0, 100_000, 256)
    first, second = noised.release(np.zeros(100_000)), noised.release(np.zeros(100_000))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.02


def auc(with_it: np.ndarray, without: np.ndarray) -> float:
    """The probability that a score with the canary is above one without it."""
    return stats.mannwhitneyu(with_it, without).statistic / len(with_it) / len(without)


TRIALS, COORDINATES = 1000, 2000


@pytest.fixture(scope="module")
def trials() -> tuple[NoisedSum, np.ndarray, np.ndarray, np.ndarray]:
    """The mechanism, a canary of its clip's norm that is spread over all coordinates and lies off the grid by halves,
    and 1,000 releases with the canary and without it."""
    noised = NoisedSum(4.0, 1.0, COORDINATES, 256)
    signs = np.where(np.random.default_rng(0).random(COORDINATES) < 0.5, -1.0, 1.0)
    canary = signs / math.sqrt(COORDINATES)
    with_it = np.stack([noised.release(canary.copy()) for _ in range(TRIALS)])
    without = np.stack([noised.release(np.zeros(COORDINATES)) for _ in range(TRIALS)])
    return noised, canary, with_it.astype(np.float64), without.astype(np.float64)


def off_the_radii(released: np.ndarray) -> np.ndarray:
    """How far pairs of numbers are from those that a Box-Muller with 23 bits a radius can give, float64 [trials]."""
    pairs = released.reshape(len(released), -1, 2).astype(np.float64)
    steps = np.exp(-(pairs**2).sum(2) / 2) * 2**23
    seen = steps < 2**17  # where float32 leaves the radius sharp enough
    return np.nanmean(np.where(seen, np.abs(steps - np.rint(steps)), np.nan), 1)


def test_the_attack_on_a_lattice_finds_out_the_noise_of_tensorflow(trials):
    """So what the attackers below do not find is not there for want of trying."""
    noised, canary, with_it, without = trials
    float32 = tf.random.Generator.from_seed(1).normal([2 * TRIALS, COORDINATES], stddev=1.0).numpy()
    moved = float32[:TRIALS] + (canary / noised.stddev).astype(np.float32)
    assert auc(off_the_radii(moved), off_the_radii(float32[TRIALS:])) > 0.999
    ours = [off_the_radii(r / noised.stddev) for r in (with_it, without)]
    assert abs(auc(*ours) - 0.5) < 0.06


def test_an_attacker_who_knows_the_grid_sees_no_canary_in_where_on_it_the_outputs_lie(trials):
    """TensorFlow's float32 noise gave the canary away at once (area 1.0): outputs without it lie on a lattice that
    those with it miss. Here both lie on the same grid, and each residue of steps is as likely."""
    noised, _, with_it, without = trials
    for released in (with_it, without):
        assert np.all(np.abs(released / noised.grid) < 2.0**27) and np.all(np.rint(released / noised.grid) % 1 == 0)
    for modulus in (2, 3, 7, 16, 1024):  # of what float32 leaves of the number of steps, 24 bits
        fine = np.abs(with_it) < noised.grid * 2.0**24, np.abs(without) < noised.grid * 2.0**24
        scores = [
            np.array([((r[m] / noised.grid) % modulus).mean() for r, m in zip(released, own, strict=True)])
            for released, own in zip((with_it, without), fine, strict=True)
        ]
        assert abs(auc(*scores) - 0.5) < 0.06, modulus


def test_an_attacker_who_subtracts_the_canary_and_looks_for_impossible_noise_finds_none(trials):
    """The attack on a bounded noise: subtract the canary, and see whether what is left could be noise at all."""
    noised, canary, with_it, without = trials
    largest = [np.abs(r - canary).max(1) - np.abs(r).max(1) for r in (with_it, without)]
    off_grid = [
        np.abs((r - canary) / noised.grid - np.rint((r - canary) / noised.grid)).sum(1) for r in (with_it, without)
    ]
    assert abs(auc(*off_grid) - 0.5) < 0.06
    assert auc(*largest) > 0.5 - 0.3  # it sees what a Gaussian shows, and no more
    likelihood = [r @ canary for r in (with_it, without)]
    assert auc(*likelihood) == pytest.approx(stats.norm.cdf(1 / noised.stddev / math.sqrt(2)), abs=0.05)


def test_every_score_tells_no_more_than_the_best_test_of_a_gaussian(trials):
    """Neyman and Pearson: with deviation σ no test has an area above Φ(1 / (σ√2))."""
    noised, canary, with_it, without = trials
    best = stats.norm.cdf(1 / noised.stddev / math.sqrt(2))
    scores = {
        "projection": lambda r: r @ canary,
        "norm": lambda r: -np.linalg.norm(r - canary, axis=1),
        "largest": lambda r: -np.abs(r - canary).max(1),
        "lattice": lambda r: -np.abs(np.sin(np.pi * (r - canary) / noised.grid)).sum(1),
        "parity": lambda r: (np.rint(r / noised.grid) % 2).sum(1),
        "repeats": lambda r: np.array([len(np.unique(np.abs(row))) for row in r]),
    }
    for name, score in scores.items():
        area = auc(score(with_it), score(without))
        assert max(area, 1 - area) < best + 0.05, name


def test_no_two_runs_share_their_secrets_unless_a_seed_is_fixed():
    draws = [NoisedSum(1.0, 1.0, 8, 256, seed).release(np.zeros(8)).tolist() for seed in (None, None, 5, 5)]
    assert draws[0] != draws[1] and draws[2] == draws[3]
    samples = [PoissonSampler(0.5, seed).draw(64).tolist() for seed in (None, None, 5, 5)]
    assert samples[0] != samples[1] and samples[2] == samples[3]
    pieces = [[p.tolist() for p in Pieces(64, 9, seed).of(np.arange(64))] for seed in (None, None, 5, 5)]
    assert pieces[0] != pieces[1] and pieces[2] == pieces[3]
