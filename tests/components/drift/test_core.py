"""How far two spans are from one another."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from components.common.errors import ConfigError
from components.drift.config import DriftConfig
from components.drift.core import Summary, distances, jensen_shannon, same_distribution

WARN = DriftConfig(action="warn")


def summary(classes, brightness=(0, 50, 50, 0)) -> Summary:
    return Summary(classes=tuple(classes), brightness=tuple(brightness))


def drifted(own: Summary, *earlier: Summary, config: DriftConfig = WARN) -> list[str]:
    return [d.feature for d in distances(own, earlier, config) if d.drifted]


def test_the_divergence_is_scipy_s_distance_squared_and_lies_between_nothing_and_one_bit():
    random = np.random.default_rng(0)
    for _ in range(20):
        first, second = random.integers(0, 50, (2, 6)) + np.eye(6, dtype=int)[0]
        assert jensen_shannon(first, second) == pytest.approx(jensenshannon(first, second, 2) ** 2, abs=1e-12)
    assert jensen_shannon(np.array([5, 0]), np.array([0, 7])) == pytest.approx(1.0)
    assert jensen_shannon(np.array([1, 3]), np.array([10, 30])) == pytest.approx(0.0)


def test_a_first_span_has_nothing_to_drift_from():
    assert distances(summary([50, 50]), [], WARN) == []


def test_other_shares_of_classes_are_drift_and_the_feature_is_named():
    before = [summary([100, 100, 100]), summary([90, 110, 100])]
    assert drifted(summary([100, 95, 105]), *before) == []
    assert drifted(summary([280, 10, 10]), *before) == ["classes"]
    (classes, _) = distances(summary([280, 10, 10]), before, WARN)
    assert classes.in_words().startswith("classes is 0.") and "bits from the earlier spans' (p = " in classes.in_words()


def test_other_light_is_drift():
    assert drifted(summary([50, 50], (80, 20, 0, 0)), summary([50, 50])) == ["brightness"]


def test_a_few_examples_that_are_far_off_by_chance_are_none():
    """Four examples of one class: the divergence is large, and says nothing."""
    (classes, _) = distances(summary([4, 0], (0, 2, 2, 0)), [summary([50, 50])], WARN)
    assert classes.divergence > WARN.max_divergence and classes.p_value > WARN.significance and not classes.drifted


def test_a_large_sample_that_differs_by_a_hair_is_none():
    (classes, _) = distances(summary([50_600, 49_400]), [summary([50_000, 50_000])], WARN)
    assert classes.p_value < 0.01 and not classes.drifted


def test_all_earlier_spans_count_together():
    half = summary([100, 0]), summary([0, 100])
    assert drifted(summary([50, 50]), *half) == [] and drifted(summary([50, 50]), half[0]) == ["classes"]


def test_a_feature_with_one_value_cannot_tell():
    assert same_distribution(np.array([5, 0]), np.array([9, 0])) == 1.0


@pytest.mark.parametrize(
    "settings", [{"action": "skip"}, {"max_divergence": 0.0}, {"significance": 1.0}, {"reference": 0}]
)
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(ConfigError, match="must"):
        DriftConfig(**settings)
