"""Noisy counts: what one example adds, how large the noise is, and what TFDV reads."""

import math

import numpy as np
import pytest
from scipy import stats

from components.common.examples import Split
from components.privacy.secret_bits import SecretBits
from components.statistics.core import BUCKETS, Counts, as_feature_stats, noisy_counts


def split(*labelled: tuple[int, int]) -> Split:
    """Pictures of one value each, with their labels."""
    images = np.array([np.full((2, 2, 1), value, np.uint8) for _, value in labelled])
    return Split(images=images, labels=np.array([label for label, _ in labelled], np.int64))


class Middle:
    """A stream of which every draw of noise is 0: p just below 1/2."""

    def words(self, count, out=None):
        return np.full(count, 2**64 - 2, np.uint64)


def exact(*pieces: Split) -> Counts:
    return noisy_counts(pieces, 3, 5.0, Middle())


def test_every_example_is_counted_once_by_class_and_once_by_brightness():
    found = exact(split((0, 0), (2, 255), (2, 25)), split((1, 26), (2, 128)))
    assert found.classes == pytest.approx((1, 1, 3))
    assert found.brightness == pytest.approx((2, 1, 0, 0, 0, 1, 0, 0, 0, 1))
    assert found.total == pytest.approx(5)


@pytest.mark.parametrize("another", [(0, 0), (2, 255), (1, 140)])
def test_one_example_moves_the_noisy_sum_by_its_noise_multiplier_at_most(another):
    before, after = exact(split((0, 7))), exact(split((0, 7), another))
    moved = np.subtract((*after.classes, *after.brightness), (*before.classes, *before.brightness))
    assert np.linalg.norm(moved) / before.deviation == pytest.approx(1 / 5.0, rel=0.001)


def test_the_noise_is_as_large_as_it_says():
    found = [noisy_counts([split((0, 0))], 3, 4.0, SecretBits("test", i)) for i in range(300)]
    drawn = np.array([(*f.classes, *f.brightness) for f in found])
    assert found[0].deviation == pytest.approx(4.0 * math.sqrt(2), rel=0.002)
    assert np.all(drawn == np.rint(drawn))
    assert np.all(np.abs(drawn.std(0) / found[0].deviation - 1) < 0.15)
    assert np.all(np.abs(drawn.mean(0) - [1, 0, 0, 1, *[0] * 9]) < 5 * found[0].deviation / math.sqrt(300))
    assert np.abs(np.corrcoef(drawn.T) - np.eye(13)).max() < 0.3


def test_noisy_counts_have_the_frequencies_of_the_rounded_gaussian_and_no_other_number_in_their_tail():
    """100,000 counts of nothing with noise of deviation 0.4 √2."""
    deviation = 0.4 * math.sqrt(2)
    drawn = np.array(noisy_counts([], 100_000, 0.4, SecretBits("test", 1)).classes)
    for value in range(-2, 3):
        likely = stats.norm.cdf((value + 0.5) / deviation) - stats.norm.cdf((value - 0.5) / deviation)
        assert stats.binomtest(int((drawn == value).sum()), len(drawn), likely).pvalue > 1e-6


def test_tfdv_reads_them_as_histograms():
    counts = Counts(classes=(30.0, -2.0, 10.2), brightness=(0.0,) * 9 + (40.0,), deviation=1.0)
    (dataset,) = as_feature_stats(counts).datasets
    label, brightness = dataset.features
    assert (dataset.name, dataset.num_examples) == ("train", 38)
    assert [b.sample_count for b in label.num_stats.histograms[0].buckets] == pytest.approx([30, 0, 10.2])
    assert label.num_stats.mean == pytest.approx(2 * 10.2 / 40.2)
    assert brightness.num_stats.mean == pytest.approx(243.2) and brightness.num_stats.std_dev == 0
    assert brightness.num_stats.histograms[0].buckets[BUCKETS - 1].high_value == pytest.approx(256)


def test_counts_that_are_all_noise_below_zero_are_no_fault():
    (dataset,) = as_feature_stats(Counts(classes=(-1.0,) * 3, brightness=(-1.0,) * 10, deviation=1.0)).datasets
    assert dataset.num_examples == 0 and np.isfinite(dataset.features[0].num_stats.mean)
