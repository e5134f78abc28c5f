"""The rounded Gaussian: its bounds proved at the worst input, its distribution out to where no sample comes."""

import math
from pathlib import Path

import mpmath
import numpy as np
import pytest
from scipy import stats

from components.common.errors import ConfigError
from components.privacy import gaussian
from components.privacy.gaussian import DISTANCE, ERROR, RoundedGaussian, quantiles, residual_delta
from components.privacy.secret_bits import SecretBits

STDDEV = 2.0**22 * 1.37  # as training has it
BEYOND = [6.0, 8.0, 8.5, 9.0]  # deviations; the float32 noise of TensorFlow ends at 5.678


def tail(x: float) -> mpmath.mpf:
    """The probability that a standard Gaussian exceeds x."""
    return mpmath.erfc(mpmath.mpf(x) / mpmath.sqrt(2)) / 2


class Scripted:
    """A stream of given words."""

    def __init__(self, *words: int):
        self._words = list(words)

    def words(self, count, out=None):
        return np.array([self._words.pop(0) for _ in range(count)], np.uint64)


def word(probability: mpmath.mpf, negative: bool = False) -> list[int]:
    """The words from which a draw has p in (0, 1/2), to 191 bits."""
    bits = int(probability * mpmath.mpf(2) ** 192)
    return [(bits >> 128) << 1 | negative, (bits >> 64) & (2**64 - 1), bits & (2**64 - 1)]


def drawn(stddev: float, words: list[int]) -> int:
    return int(RoundedGaussian(stddev, Scripted(*words)).draw(1)[0])


def test_the_proved_error_of_the_table_is_below_what_is_relied_on():
    """Taylor's remainder at each cell's worst end, the fifth derivative being monotone in |w|, and all roundings."""
    middles, *_ = gaussian._table()
    edges = np.exp2(np.floor(np.log2(middles)))  # of the octave
    half = edges / 2 ** (gaussian._CELL_BITS + 1)
    w = stats.norm.isf(middles - half)
    fifth = (7 + 46 * w**2 + 24 * w**4) / stats.norm.pdf(w) ** 5
    remainder = fifth * half**5 / math.factorial(5)
    unread = 2.0**-64 / stats.norm.pdf(w)  # of the bits of p that float arithmetic does not look at
    roundings = 2.0**-48 + 2.0**-49
    assert len(middles) == 19 * 128 and middles[0] < 2.0**-20 * 1.01 and middles[-1] > 0.499
    assert (remainder + unread + roundings).max() < ERROR / 2


def test_quantiles_are_as_near_as_promised_at_the_edges_of_cells():
    """Where the polynomial is worst: beside both edges and at middles, of all octaves."""
    random = np.random.default_rng(0)
    middles = gaussian._table()[0]
    cells = np.unique(np.concatenate([random.integers(0, len(middles), 300), [0, len(middles) - 1]]))
    half = np.exp2(np.floor(np.log2(middles[cells]))) / 2 ** (gaussian._CELL_BITS + 1)
    p = np.concatenate([middles[cells] - half, middles[cells] + half * (1 - 2.0**-40), middles[cells]])
    tails = np.array([int(mpmath.mpf(x) * 2**64) for x in p], np.uint64)
    w = quantiles(tails, np.empty((4, len(tails))))
    with mpmath.workprec(150):
        misses = [
            abs((tail(x) - mpmath.mpf(int(t)) / 2**64) / mpmath.npdf(x)) for x, t in zip(w.tolist(), tails, strict=True)
        ]
    assert 2.0**-48 < max(misses) < ERROR / 2


@pytest.mark.parametrize("stddev", [STDDEV, 3.7, 0.4])
@pytest.mark.parametrize("deviations", [0.0, 0.7, 2.0, 4.7, 4.9, *BEYOND])
@pytest.mark.parametrize("negative", [False, True])
def test_a_draw_changes_exactly_at_the_thresholds(stddev, deviations, negative):
    """On both sides of a threshold, by a part in 2⁻⁸⁰ of the probability, far out too: the inversion is exact."""
    whole, sign = round(deviations * stddev), -1 if negative else 1
    with mpmath.workprec(250):
        threshold = tail((mpmath.mpf(whole) + 0.5) / mpmath.mpf(stddev))
        above, below = threshold * (1 + mpmath.mpf(2) ** -80), threshold * (1 - mpmath.mpf(2) ** -80)
        assert drawn(stddev, word(above, negative)) == sign * whole
        assert drawn(stddev, word(below, negative)) == sign * (whole + 1)


@pytest.mark.parametrize("deviations", BEYOND)
def test_what_lies_beyond_is_drawn_as_often_as_the_gaussian_says(deviations):
    """By construction: 64 equally likely words inside the tail, spread over it, each give what inversion gives."""
    inside = [(i + 0.5) / 64 for i in range(64)]
    with mpmath.workprec(250):
        beyond = tail(deviations)
        sizes = np.array([drawn(STDDEV, word(beyond * mpmath.mpf(u))) for u in inside]) / STDDEV
    expected = stats.norm.isf(np.array(inside) * float(beyond))
    assert sizes.min() > deviations - 1e-6
    np.testing.assert_allclose(sizes, expected, rtol=1e-7)


def test_importance_sampling_beyond_eight_deviations_agrees_with_the_gaussian():
    """Draws under the condition p < Φ(-8): the first 49 bits of the tail are zero, its probability 6.2e-16."""
    bits, beyond, sizes = SecretBits("test", 3), stats.norm.sf(8.0), []
    while len(sizes) < 400:
        first, second, third = (int(w) for w in bits.words(3))
        tail_bits = first >> 50
        size = drawn(STDDEV, [tail_bits << 1, second, third]) / STDDEV
        if size > 8.0:
            sizes.append(size)
    assert stats.kstest(sizes, lambda x: 1 - stats.norm.sf(x) / beyond).pvalue > 1e-6
    assert max(sizes) > 8.4


@pytest.mark.parametrize("stddev", [0.3, 1.0, 2.9])
def test_small_deviations_have_the_rounded_gaussians_frequencies(stddev):
    draws = RoundedGaussian(stddev, SecretBits("test", 11)).draw(400_000)
    values = np.arange(-12, 13)
    expected = stats.norm.cdf((values + 0.5) / stddev) - stats.norm.cdf((values - 0.5) / stddev)
    counts = np.array([(draws == v).sum() for v in values])
    likely = expected * len(draws) > 5
    assert (
        stats.chisquare(
            np.append(counts[likely], len(draws) - counts[likely].sum()),
            np.append(expected[likely], 1 - expected[likely].sum()) * len(draws),
        ).pvalue
        > 1e-6
    )


def test_many_draws_are_gaussian_and_independent():
    noise = RoundedGaussian(STDDEV, SecretBits("test", 12))
    draws = noise.draw(300_000) / STDDEV
    assert stats.kstest(draws, "norm").pvalue > 1e-6
    assert abs(np.corrcoef(draws[1:], draws[:-1])[0, 1]) < 0.01
    assert abs(np.corrcoef(np.abs(draws[1:]), np.abs(draws[:-1]))[0, 1]) < 0.01
    assert (draws > 0).mean() == pytest.approx(0.5, abs=0.005)


def test_a_draw_that_float_arithmetic_cannot_tell_asks_for_more_bits(monkeypatch):
    asked, exactly = [], RoundedGaussian._exactly
    monkeypatch.setattr(RoundedGaussian, "_exactly", lambda self, t: asked.append(t) or exactly(self, t))
    RoundedGaussian(2.0**34, SecretBits("test", 1)).draw(20_000)
    assert 20 < len(asked) < 500  # 2 stddev ERROR of all draws: 20,000 / 2⁷


@pytest.mark.parametrize(
    ("draws", "epsilon", "most"),
    [
        (100 * (17_290 + 18_000), 2.95, 1e-10),
        (1000 * (4_000_000 + 1_000_000), 2.95, 1e-8),
        (1000 * (4_000_000 + 1_000_000), 8.0, 1e-8),
        (100 * (10**8 + 18_000), 2.95, 1e-8),
    ],
)
def test_the_residual_is_far_below_delta_and_as_the_page_on_privacy_says(draws, epsilon, most):
    residual = residual_delta(draws, epsilon)
    assert draws * DISTANCE < residual < most
    assert f"| {residual:.1e} |" in Path("docs/privacy.md").read_text()


@pytest.mark.parametrize("stddev", [0.0, -1.0, 2.0**41, math.nan])
def test_a_deviation_that_the_proof_does_not_cover_is_refused(stddev):
    with pytest.raises(ConfigError, match="stddev"):
        RoundedGaussian(stddev, SecretBits("test"))


def test_a_library_that_is_wrong_is_noticed(monkeypatch):
    real = gaussian.ndtri
    monkeypatch.setattr(gaussian, "ndtri", lambda p: real(p) + 1e-13)
    with pytest.raises(ArithmeticError, match="ndtri must be right"):
        gaussian._table.__wrapped__()
