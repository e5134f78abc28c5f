"""Where the secrets of private training come from: which examples a step takes, and the noise on their sum.

Both are seeded from the operating system's entropy and live in memory only. Which examples were sampled is as secret as
the noise: amplification by sampling (Balle, Barthe and Gaboardi 2018, arXiv:1807.01647) holds for who does not know it.
"""

import secrets

import numpy as np
import tensorflow as tf


class PoissonSampler:
    """Takes each example into a step with the same probability, independently of all others and of other steps.

    Args:
        probability: in (0, 1].
        insecure_fixed_seed: None for the operating system's entropy.
    """

    def __init__(self, probability: float, insecure_fixed_seed: int | None = None):
        self._probability = probability
        self._generator = generator(insecure_fixed_seed)

    def draw(self, population: int) -> np.ndarray:
        """The indices of one step's examples, int64 [n] ascending; n may be 0."""
        return np.flatnonzero(self._generator.random(population) < self._probability)


class GaussianNoise:
    """Draws of one flat Gaussian vector, a fresh one each call, inside or outside a graph.

    Args:
        stddev: of every coordinate.
        insecure_fixed_seed: None for the operating system's entropy.
    """

    def __init__(self, stddev: float, insecure_fixed_seed: int | None = None):
        words = generator(insecure_fixed_seed).integers(0, 2**63, size=3, dtype=np.int64)  # Philox: counter and key
        self._generator = tf.random.Generator.from_state(words, alg="philox")
        self._stddev = stddev

    def draw(self, size: int) -> tf.Tensor:
        """float32 [size]."""
        return self._generator.normal([size], stddev=self._stddev)


def generator(insecure_fixed_seed: int | None) -> np.random.Generator:
    """A numpy generator on 256 bits of the operating system's entropy, or on the seed."""
    return np.random.default_rng(secrets.randbits(256) if insecure_fixed_seed is None else insecure_fixed_seed)
