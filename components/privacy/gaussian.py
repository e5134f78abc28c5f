"""The Gaussian, rounded to whole numbers: what noise is drawn from.

Let N be Gaussian with deviation s. A draw is N rounded to the nearest whole number, by inversion: a sign, and the
probability p in (0, 1/2) that |N| exceeds twice as often, give |N| = s·w with w = -Φ⁻¹(p). p is read from a stream of
bits, of which the first 63 nearly always tell the whole number. Then float64 arithmetic finds it, since its error is
proved to be below `ERROR`; else further bits are drawn and thresholds of higher precision decide. So there is no tail
that cannot be reached, and no distance from the rounded Gaussian but what `DISTANCE` bounds.

Whole numbers plus rounded noise are the rounding of whole numbers plus N. What is released of a query with whole
numbers is therefore post-processing of the Gaussian mechanism on it (Dwork and Roth 2014, proposition 2.1), sampled or
not, and the accounting of the Gaussian mechanism holds as it is. docs/privacy.md has the proof, with its figures.
"""

import functools
import math
from collections.abc import Sequence

import mpmath
import numpy as np
from scipy.special import ndtri

from components.common.settings import require
from components.privacy.secret_bits import BLOCK_BITS, SecretBits

ERROR = 2.0**-42  # of w as float64 arithmetic has it, at most; proved is less than half of it
DISTANCE = 2.0**-100  # total variation between one draw and the rounded Gaussian, at most
_OCTAVES, _CELL_BITS = 19, 7  # of p: the table has 128 cells for each halving of p, from 1/2 down to 2⁻²⁰
_CHUNK = 2**14  # draws at a time: arrays that stay in a core's cache
_CELL = np.uint64(52 - _CELL_BITS)  # a float64's bits below those that name its cell
_FIRST_CELL = int(np.float64(2.0 ** -(_OCTAVES + 1)).view(np.uint64) >> _CELL)
_LEAST = np.uint64(2 ** (63 - _OCTAVES))  # of 63 bits of p that the table covers


class RoundedGaussian:
    """Draws of a Gaussian rounded to the nearest whole number.

    Args:
        stddev: of the Gaussian before it is rounded, in (0, 2⁴⁰].
        bits: that the draws are made of.
    """

    def __init__(self, stddev: float, bits: SecretBits):
        require(0 < stddev <= 2.0**40, "stddev", "be in (0, 2**40]", stddev)
        self._stddev, self._bits = stddev, bits
        self._words, self._tails = (np.empty(_CHUNK + 2, np.uint64) for _ in range(2))
        self._room = np.empty((6, _CHUNK))

    def draw(self, count: int) -> np.ndarray:
        """int64 [count], independent."""
        draws = np.zeros(count, np.int64)
        self.add_to(draws)
        return draws

    def add_to(self, whole: np.ndarray) -> None:
        """Adds a draw of its own to each of int64 [n], in place."""
        for start in range(0, len(whole), _CHUNK):
            part = whole[start : start + _CHUNK]
            part += self._some(len(part))

    def _some(self, count: int) -> np.ndarray:
        """int64 [count], in memory that the next call writes to; fresh memory would take longer than the sums."""
        words = self._bits.words(count, self._words)
        tails = np.right_shift(words, np.uint64(1), out=self._tails[:count])
        draws, whole, *room = self._room[:, :count]
        draws, sizes = draws.view(np.int64), quantiles(tails, room)
        sizes *= self._stddev
        draws[:] = np.rint(sizes, out=whole)
        sizes -= whole
        np.abs(sizes, out=sizes)
        for i in np.flatnonzero((sizes >= 0.5 - self._stddev * ERROR) | (tails < _LEAST)):
            draws[i] = self._exactly(int(tails[i]))
        draws *= 1 - 2 * np.bitwise_and(words, np.uint64(1), out=words).view(np.int64)
        return draws

    def _exactly(self, tail: int) -> int:
        """|N| rounded, where p begins with the 63 bits of `tail`; draws 64 further bits until they tell."""
        known = 63
        while True:
            tail, known = tail << 64 | int(self._bits.words(1)[0]), known + 64
            with mpmath.workprec(known + 64):
                least, most = (mpmath.mpf(t) / 2 ** (known + 1) for t in (tail, tail + 1))
                near = round(-self._stddev * float(ndtri(float(least))))
                for whole in range(max(0, near - 1), near + 2):
                    inner = 0.5 if whole == 0 else self._beyond(whole - 0.5)
                    if self._beyond(whole + 0.5) <= least and most <= inner:
                        return whole

    def _beyond(self, size: float) -> mpmath.mpf:
        """The probability that N exceeds `size`, at the working precision."""
        return mpmath.erfc(mpmath.mpf(size) / (mpmath.mpf(self._stddev) * mpmath.sqrt(2))) / 2


def residual_delta(draws: int, epsilon: float) -> float:
    """What the arithmetic of the noise adds to δ, at most, for all draws that a promise of `epsilon` rests on.

    (1 + e^ε) times the distance of the transcripts: `DISTANCE` a draw, and that of as many blocks of a cipher, which
    are never equal, from random ones (Bellare and Rogaway 2006, EUROCRYPT, lemma 1).

    Args:
        draws: of noise, and of samples, one for each example and step.
        epsilon: what the whole promise states.
    """
    distance = draws * DISTANCE + float(draws) ** 2 * 2.0 ** -(BLOCK_BITS + 1)
    return (1 + math.exp(min(epsilon, 600.0))) * distance if distance else 0.0


def quantiles(tails: np.ndarray, room: Sequence[np.ndarray]) -> np.ndarray:
    """w = -Φ⁻¹(p) to `ERROR` for p = tails · 2⁻⁶⁴ from 2⁻²⁰ to 1/2; below 2⁻²⁰ any number.

    A Taylor polynomial of degree 4 about the middle of p's cell. All p of an octave have one exponent, so the bits of
    the float64 name the cell, and p minus its middle is exact (Sterbenz 1974).

    Args:
        tails: uint64 [n], below 2⁶³.
        room: four float64 [n] to write to, one of which is returned.
    """
    middles, *coefficients = _table()
    p, w, read, cells = room[0], room[1], room[2], room[3].view(np.int64)
    np.multiply(tails, 2.0**-64, out=p)
    np.right_shift(p.view(np.uint64), _CELL, out=cells.view(np.uint64))
    cells -= _FIRST_CELL
    p -= middles.take(cells, out=read, mode="clip")
    coefficients[-1].take(cells, out=w, mode="clip")
    for coefficient in coefficients[-2::-1]:
        w *= p
        w += coefficient.take(cells, out=read, mode="clip")
    return w


@functools.cache
def _table() -> tuple[np.ndarray, ...]:
    """The middles of the cells and the Taylor coefficients of -Φ⁻¹ there, from degree 0 to 4, float64 [cells] each.

    The n-th derivative of w is (-1)ⁿ P_n(w) / φ(w)ⁿ with P_1 = 1 and P_(n+1) = P_n' + n w P_n (Steinbrecher and Shaw
    2008, European Journal of Applied Mathematics 19).

    Raises:
        ArithmeticError: a middle's quantile is not one; the processor or a library is broken.
    """
    cells = np.arange(_OCTAVES << _CELL_BITS, dtype=np.uint64) + np.uint64(_FIRST_CELL)
    middles = ((cells << _CELL) | np.uint64(1 << (int(_CELL) - 1))).view(np.float64)
    w = -ndtri(middles)
    density = np.exp(-(w**2) / 2) / math.sqrt(2 * math.pi)
    with mpmath.workprec(120):
        tails = [mpmath.erfc(mpmath.mpf(x) / mpmath.sqrt(2)) / 2 for x in w.tolist()]
        misses = np.array([float(tail - p) for tail, p in zip(tails, middles.tolist(), strict=True)])
    if not np.all(np.abs(misses) < 2.0**-48 * density):
        raise ArithmeticError("scipy.special.ndtri must be right to 2**-48")
    falls = -1 / density
    return (
        middles,
        w,
        falls,
        w * falls**2 / 2,
        (1 + 2 * w**2) * falls**3 / 6,
        (7 * w + 6 * w**3) * falls**4 / 24,
    )
