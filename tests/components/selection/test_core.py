"""The choice among what passed."""

import pytest

from components.common.errors import ConfigError
from components.selection.config import OBJECTIVES, SelectionConfig
from components.selection.core import select


def judged(recipe: str, verdict: str = "pass", **figures) -> dict:
    return {"recipe": recipe, "verdict": verdict, "bytes": 100, "gzip_bytes": 50, "latency_us": 9.0, **figures}


@pytest.mark.parametrize(
    ("objective", "winner"), [("gzip_bytes", "small zipped"), ("bytes", "small"), ("latency_us", "fast")]
)
def test_the_objective_decides(objective, winner):
    found = [judged("small", bytes=10), judged("small zipped", gzip_bytes=5), judged("fast", latency_us=1.0)]
    for order in (found, found[::-1]):
        assert select(order, SelectionConfig(objective=objective))["recipe"] == winner


@pytest.mark.parametrize("verdict", ["fail", "inconclusive", "PASS", "", None, True])
def test_only_a_pass_is_chosen_however_good_the_rest(verdict):
    better = judged("better", verdict, gzip_bytes=1, bytes=1, latency_us=0.1)
    assert select([better, judged("passed")], SelectionConfig())["recipe"] == "passed"
    assert select([better], SelectionConfig()) is None


def test_nothing_gives_nothing():
    assert select([], SelectionConfig()) is None


def test_ties_go_to_the_smaller_gzip_size_and_then_to_the_name():
    found = [judged("c", gzip_bytes=40), judged("b", gzip_bytes=40), judged("a", gzip_bytes=50)]
    assert select(found, SelectionConfig(objective="bytes"))["recipe"] == "b"


def test_an_unknown_objective_is_refused():
    with pytest.raises(ConfigError, match="^`objective` must be one of download_bytes, gzip_bytes, bytes, latency_us"):
        SelectionConfig(objective="accuracy")
    assert [SelectionConfig(objective=o).objective for o in OBJECTIVES] == list(OBJECTIVES)
