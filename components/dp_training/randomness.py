"""The secrets of private training: which examples a step takes, in which pieces, and the noise on their sum.

All are made of a cipher's stream under a key of the operating system's entropy (`SecretBits`). Which examples were
sampled is as secret as the noise: amplification by sampling (Balle, Barthe and Gaboardi 2018, arXiv:1807.01647) holds
for who does not know it.
"""

import math
from fractions import Fraction

import numpy as np

from components.privacy.gaussian import RoundedGaussian
from components.privacy.secret_bits import SecretBits

_GRID_BITS = 22  # the grid's step is at most 2⁻²² of the noise's deviation
_FARTHEST = 2.0**62  # steps of the grid; a sum is held to them, which moves no two sums apart
_CHUNK = 2**14  # examples at a time
_UNIT = 2.0**-24  # relative rounding of one operation in float32
_CLIPPING = 2.0**-12  # of the clip: what the float32 arithmetic of norm and clip may leave above it
_MOST = 256  # examples that are summed in float32; of more the rounding grows with the square


class PoissonSampler:
    """Takes each example into a step with the same probability, independently of all others and of other steps.

    The probability is cut to 64 binary digits. The accountant's, which is that or more, bounds it: a sample at the
    smaller one is a sample at the larger one from which each example is dropped again by a coin.

    Args:
        probability: in (0, 1].
        insecure_fixed_seed: None for the operating system's entropy.
    """

    def __init__(self, probability: float, insecure_fixed_seed: int | None = None):
        self._below = int(Fraction(probability) * 2**64)
        self._bits = SecretBits("sample", insecure_fixed_seed)

    def draw(self, population: int) -> np.ndarray:
        """The indices of one step's examples, int64 [n] ascending; n may be 0."""
        if self._below >= 2**64:
            return np.arange(population)
        limit, chunks = np.uint64(self._below), range(0, population, _CHUNK)
        taken = [c + np.flatnonzero(self._bits.words(min(_CHUNK, population - c)) < limit) for c in chunks]
        return np.concatenate([np.empty(0, np.int64), *taken])


class Pieces:
    """Parts a step's examples into pieces that are summed one by one, each example into a piece of its own chance.

    So an example more or less changes one piece: what rounding does in all others, whether in a gradient or in a sum,
    does not depend on it. Pieces in the order of the examples would all change.

    Args:
        expected: number of examples that a step is expected to have.
        physical: number of examples that memory may hold at one time; above `_MOST` these are taken.
        insecure_fixed_seed: None for the operating system's entropy.
    """

    def __init__(self, expected: int, physical: int, insecure_fixed_seed: int | None = None):
        self._most = min(physical, _MOST)
        mean = max(self._most / 2, self._most - 3 * math.sqrt(self._most))  # so that few pieces need a cut
        self._count = math.ceil(expected / mean)
        self._bits = SecretBits("pieces", insecure_fixed_seed)

    def of(self, sampled: np.ndarray) -> list[np.ndarray]:
        """The parts of `sampled` that are summed one by one, none of them empty."""
        pieces = self._bits.below(self._count, len(sampled))
        own = [sampled[pieces == piece] for piece in range(self._count)]
        return [part for p in own if len(p) for part in np.array_split(p, self._parts(len(p)))]

    def _parts(self, examples: int) -> int:
        return min(examples, math.ceil((examples / self._most) ** 2))


def rounding_of_sums(physical: int) -> float:
    """What rounding in the sum of one piece may move, over the clip, at most.

    A float32 sum of m products errs by at most m + 2 roundings of the sum of their sizes, in whatever order (Higham
    2002, Accuracy and Stability of Numerical Algorithms, section 3.1), which is m clips. A piece is cut into so many
    parts that the squares of their m add up to that of the most; it errs once with the example and once without it.
    The second term counts two roundings, doubled, for pieces of up to four times the most, or 1,024. Parts are added
    up in float64.
    """
    most = min(physical, _MOST)
    return 2 * (most**2 + 4 * max(4 * most, 1024)) * _UNIT


class NoisedSum:
    """The Gaussian mechanism on sums of clipped vectors: rounded to a grid, and rounded Gaussian noise added there.

    On the grid everything is whole numbers, and what it releases is post-processing of the Gaussian mechanism on the
    rounded sum (`components.privacy.gaussian`). One example moves the rounded sum by `sensitivity` at most: the clip;
    what float32 may add to it; and a step of the grid in each coordinate, because the sums with and without it may be
    rounded away from each other. docs/privacy.md bounds each.

    Args:
        noise_multiplier: deviation of the noise over `sensitivity`, as the accountant has it.
        l2_norm_clip: of one vector.
        size: coordinates of a sum.
        physical: as in `Pieces`.
        insecure_fixed_seed: None for the operating system's entropy.
    """

    def __init__(
        self,
        noise_multiplier: float,
        l2_norm_clip: float,
        size: int,
        physical: int,
        insecure_fixed_seed: int | None = None,
    ):
        self.grid = 2.0 ** (math.floor(math.log2(noise_multiplier * l2_norm_clip)) - _GRID_BITS)
        clipped = l2_norm_clip * (1 + _CLIPPING + rounding_of_sums(physical))
        self.sensitivity = clipped + math.sqrt(size) * self.grid
        self.stddev, self._steps = noise_multiplier * self.sensitivity, np.empty(size, np.int64)
        self._noise = RoundedGaussian(self.stddev / self.grid, SecretBits("noise", insecure_fixed_seed))

    def release(self, total: np.ndarray) -> np.ndarray:
        """A finite sum, float64 [size], with fresh noise, float32 [size]. Overwrites `total`."""
        total *= 1 / self.grid
        self._steps[:] = np.clip(np.rint(total, out=total), -_FARTHEST, _FARTHEST, out=total)
        self._noise.add_to(self._steps)
        return np.multiply(self._steps, self.grid, out=total).astype(np.float32)
