"""Latency in turns, and its intervals."""

import numpy as np
import pytest
from scipy.stats import binom

from components.common.examples import scaled
from components.common.tflite import TFLiteModel
from components.quantization.core import convert
from components.shipped.latency import in_turns, interval, latency


def test_a_file_beside_itself_is_even(make_model, public):
    model = TFLiteModel(convert(make_model(), "float32"))
    found = latency(model, model, scaled(public.images)[0])
    assert 0 < found.parent.low <= found.parent.median <= found.parent.high < 1e5
    assert found.ratio.low <= found.ratio.median <= found.ratio.high and 0.2 < found.ratio.median < 5


def test_a_drift_of_the_machine_hits_both_alike():
    turns = iter(range(1, 1000))  # each turn is slower than the one before

    def timed(times):
        return lambda: np.full(3, times * 1000 + next(turns))

    found = in_turns(timed(1), timed(2), rounds=6)
    assert found.variant.median - found.parent.median == 1000
    assert abs(found.ratio.median - 2) < 0.05


@pytest.mark.parametrize("count", [6, 12, 31])
def test_the_interval_holds_the_median_with_95_percent_and_no_narrower_one_does(count):
    found = interval(np.arange(count) + 1.0)
    low, high = int(found.low), int(found.high)
    assert found.median == (count + 1) / 2 and low + high == count + 1

    def covered(rank):
        return 1 - 2 * binom.cdf(rank - 1, count, 0.5)

    assert covered(low) >= 0.95 > covered(low + 1)


@pytest.mark.parametrize("values", [np.ones(5), np.array([1, 2, 3, 4, 5, np.nan])])
def test_too_few_or_broken_times_have_no_interval(values):
    with pytest.raises(ValueError, match="^`values` must be 6 finite ones or more"):
        interval(values)
