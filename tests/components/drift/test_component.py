"""The node on real examples, what it finds earlier, and what its finding stops."""

import json
from pathlib import Path

import pytest
from tfx.types import standard_artifacts

from components.common.artifacts import Drift
from components.common.settings import to_json
from components.drift.component import DriftDetector, EarlierDrift
from components.drift.config import DriftConfig
from tests.components.settings import DATA


@pytest.fixture
def detect(artifact, execute, public, encode, example, write_split):
    """Runs the node on `public` with these labels, beside earlier findings; gives its artifact."""

    def run(span: int, labels: list[int], earlier=(), action: str = "stop") -> Drift:
        examples, made = artifact(standard_artifacts.Examples, f"examples{span}"), artifact(Drift, f"drift{span}")
        examples.set_int_custom_property("span", span)
        records = [example(encode(public.images[i % 90]), label, f"k{i}") for i, label in enumerate(labels)]
        write_split(examples.uri, "public", records)
        inputs = {"examples": examples, **({"earlier": list(earlier)} if earlier else {})}
        settings = to_json(DriftConfig(action=action))
        execute(DriftDetector, inputs, {"drift": made}, config=settings, data=to_json(DATA))
        return made

    return run


def said(drift: Drift) -> dict:
    return json.loads(Path(drift.uri, "drift.json").read_text())


def test_a_span_unlike_those_before_it_is_stopped_or_named(detect):
    first, second = detect(1, [0, 1, 2] * 30), detect(2, [0, 1, 2] * 20)
    assert said(first)["distances"] == [] and not said(first)["stopped"]
    assert first.get_int_custom_property("span") == 1 and first.get_int_custom_property("stopped") == 0
    far = detect(3, [0] * 90, [first, second])
    assert said(far)["compared_with"] == [1, 2] and said(far)["stopped"]
    assert far.get_int_custom_property("stopped") == 1 and said(far)["reasons"][0].startswith("classes is 0.")
    warned = detect(4, [0] * 90, [first, second], action="warn")
    assert said(warned)["reasons"] and not said(warned)["stopped"]
    assert not said(detect(5, [2, 1, 0] * 30, [first, second]))["reasons"]


def found(id: int, span: int, stopped: int = 0) -> Drift:
    made = Drift()
    made.id = id
    made.set_int_custom_property("span", span)
    made.set_int_custom_property("stopped", stopped)
    return made


def test_what_is_compared_with_are_the_newest_spans_before_that_were_not_stopped():
    own = standard_artifacts.Examples()
    own.set_int_custom_property("span", 6)
    earlier = [found(9, 2), found(2, 1), found(3, 2), found(4, 3, stopped=1), found(5, 4), found(6, 6), found(7, 7)]
    given = {"examples": [own], "earlier": earlier}
    resolved = EarlierDrift(2).resolve_artifacts(None, given)["earlier"]
    assert [(d.id, d.get_int_custom_property("span")) for d in resolved] == [(9, 2), (5, 4)]
    assert [d.id for d in EarlierDrift(9).resolve_artifacts(None, given)["earlier"]] == [2, 9, 5]
    assert EarlierDrift(9).resolve_artifacts(None, {"examples": [own], "earlier": []})["earlier"] == []
