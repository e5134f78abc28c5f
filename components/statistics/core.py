"""Counts of private examples as one noisy sum.

An example adds a vector of l2 norm √2: one-hot of its class and one-hot of its brightness. The sum is of whole numbers,
and is released once with rounded Gaussian noise (`components.privacy.gaussian`), which is post-processing of the
Gaussian mechanism (Mironov 2017, arXiv:1702.07476, proposition 7); all else here is arithmetic on what was released.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from tensorflow_metadata.proto.v0 import statistics_pb2

from components.common.examples import Split
from components.privacy.gaussian import RoundedGaussian
from components.privacy.secret_bits import SecretBits

BUCKETS = 10  # of brightness, the mean of a picture's values from 0 to 255, all of one width


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Noisy numbers of examples. classes: a class each; brightness: a bucket each, from dark to bright; any of them
    may be below 0, and all are whole. deviation: standard deviation of the noise of each."""

    classes: tuple[float, ...]
    brightness: tuple[float, ...]
    deviation: float

    @property
    def total(self) -> float:
        """Number of examples."""
        return math.fsum(self.classes)


def noisy_counts(pieces: Iterable[Split], classes: int, noise_multiplier: float, bits: SecretBits) -> Counts:
    """Counts examples and adds noise.

    Args:
        pieces: the examples; labels from 0 to `classes` - 1.
        noise_multiplier: standard deviation of the noise over the l2 norm of what one example adds.
        bits: that the noise is made of.
    """
    deviation, noisy = math.sqrt(2) * noise_multiplier, count_exactly(pieces, classes)
    RoundedGaussian(deviation, bits).add_to(noisy)
    return Counts(
        classes=tuple(map(float, noisy[:classes])),
        brightness=tuple(map(float, noisy[classes:])),
        deviation=math.hypot(deviation, math.sqrt(1 / 12)),  # of the Gaussian, and of its rounding
    )


def count_exactly(pieces: Iterable[Split], classes: int) -> np.ndarray:
    """Numbers of examples without noise, int64 [classes + BUCKETS]: by class, then by brightness. Of private examples
    this must go nowhere but under noise."""
    exact = np.zeros(classes + BUCKETS, np.int64)
    for piece in pieces:
        dark_to_bright = (piece.images.reshape(len(piece), -1).mean(1) * BUCKETS / 256).astype(int)
        exact[:classes] += np.bincount(piece.labels, minlength=classes)
        exact[classes:] += np.bincount(dark_to_bright, minlength=BUCKETS)
    return exact


def as_feature_stats(counts: Counts) -> statistics_pb2.DatasetFeatureStatisticsList:
    """The counts as TensorFlow Data Validation writes statistics; what is below 0 counts as 0."""
    found = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = found.datasets.add(name="train", num_examples=max(0, round(counts.total)))
    width = 256 / BUCKETS
    features = (
        ("label", statistics_pb2.FeatureNameStatistics.INT, counts.classes, 1.0, 0.0),
        ("brightness", statistics_pb2.FeatureNameStatistics.FLOAT, counts.brightness, width, width / 2),
    )
    for name, kind, numbers, step, middle in features:
        shown = np.maximum(numbers, 0.0)
        weights = shown / shown.sum() if shown.any() else np.full(len(shown), 1 / len(shown))
        values = np.arange(len(shown)) * step + middle
        mean = float(weights @ values)
        stats = dataset.features.add(type=kind, path={"step": [name]}).num_stats
        stats.common_stats.num_non_missing = dataset.num_examples
        stats.mean, stats.std_dev = mean, float(np.sqrt(weights @ (values - mean) ** 2))
        stats.min, stats.max = float(values[0]), float(values[-1])
        histogram = stats.histograms.add(name="noisy counts")
        for value, count in zip(values, shown, strict=True):
            low = float(value - middle)
            histogram.buckets.add(low_value=low, high_value=low + step, sample_count=float(count))
    return found
