"""The choice among what passed."""

import pytest

from components.common.errors import ConfigError
from components.selection.config import FIGURES, SelectionConfig
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


def test_a_weighted_sum_counts_each_figure_over_the_smallest():
    small, fast = judged("small", gzip_bytes=10, latency_us=30.0), judged("fast", gzip_bytes=20, latency_us=10.0)
    for weights, winner in (
        ({"gzip_bytes": 1.0, "latency_us": 1.0}, "fast"),
        ({"gzip_bytes": 3.0, "latency_us": 1.0}, "small"),
    ):
        config = SelectionConfig(objective="weighted", weights=weights)
        assert select([small, fast], config)["recipe"] == winner


@pytest.mark.parametrize("missing", [None, float("nan"), -1.0, "5"])
def test_a_figure_that_is_missing_never_helps(missing):
    worse = judged("worse", gzip_bytes=10**6, bytes=10**6)
    assert select([judged("a", gzip_bytes=missing), worse], SelectionConfig())["recipe"] == "worse"
    assert select([{"recipe": "a", "verdict": "pass"}, worse], SelectionConfig())["recipe"] == "worse"
    weighted = SelectionConfig(objective="weighted", weights={"bytes": 1.0, "gzip_bytes": 1.0})
    assert select([judged("a", gzip_bytes=missing), worse], weighted)["recipe"] == "worse"


def test_a_verdict_that_is_missing_is_none():
    assert select([{"recipe": "a", "gzip_bytes": 1}], SelectionConfig()) is None


def test_an_unknown_objective_is_refused():
    known = "download_bytes, gzip_bytes, bytes, latency_us, weighted"
    with pytest.raises(ConfigError, match=f"^`objective` must be one of {known}"):
        SelectionConfig(objective="accuracy")
    assert [SelectionConfig(objective=o).objective for o in FIGURES] == list(FIGURES)


@pytest.mark.parametrize(
    ("objective", "weights"),
    [
        ("weighted", {}),
        ("bytes", {"bytes": 1.0}),
        ("weighted", {"accuracy": 1.0}),
        ("weighted", {"bytes": float("nan")}),
        ("weighted", {"bytes": 0.0}),
    ],
)
def test_weights_that_make_no_sum_are_refused(objective, weights):
    with pytest.raises(ConfigError, match="^`weights` must"):
        SelectionConfig(objective=objective, weights=weights)
