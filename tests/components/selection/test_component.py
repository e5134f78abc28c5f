"""Selector: the chosen variant's bytes travel with the verdict that was passed on them."""

import json
from pathlib import Path

import pytest

from components.common.artifacts import Selection, Variant, Verdict
from components.common.content import sizes
from components.common.errors import GateError
from components.common.settings import to_json
from components.selection.component import Selector
from components.selection.config import SelectionConfig

STATEMENT = ("statement.json", "statement.txt")


@pytest.fixture
def run(artifact, execute):
    """Runs Selector on (content, verdict, gzip size) a variant; returns the folder of its output."""

    def selected(*made: tuple[bytes, str, int], judged_on: bytes | None = None) -> Path:
        variants, verdicts = [], []
        for i, (content, verdict, size) in enumerate(made):
            variants.append(artifact(Variant, f"variant{i}"))
            Path(variants[-1].uri, "model.tflite").write_bytes(content)
            for name in STATEMENT:
                Path(variants[-1].uri, name).write_bytes(b"of " + content)
            verdicts.append(artifact(Verdict, f"verdict{i}"))
            facts = {"recipe": f"r{i}", "verdict": verdict, **sizes(judged_on or content), "gzip_bytes": size}
            Path(verdicts[-1].uri, "verdict.json").write_text(json.dumps({**facts, "latency_us": 1.0, "accuracy": 0.9}))
        output = artifact(Selection, "selection")
        inputs = {"variants": variants[::-1], "verdicts": verdicts}  # TFX promises no order
        execute(Selector, inputs, {"selection": output}, config=to_json(SelectionConfig()))
        return Path(output.uri)

    return selected


def test_the_best_that_passed_is_copied_with_its_own_verdict_and_statement(run):
    folder = run((b"bad but tiny", "fail", 1), (b"good", "pass", 20), (b"good but larger", "pass", 30))
    note = json.loads((folder / "selection.json").read_text())
    assert note["selected"] == "r1"
    assert [c["verdict"] for c in note["candidates"]] == ["fail", "pass", "pass"]
    assert (folder / "model.tflite").read_bytes() == b"good"
    assert [(folder / name).read_bytes() for name in STATEMENT] == [b"of good"] * 2
    verdict = json.loads((folder / "verdict.json").read_text())
    assert (verdict["recipe"], verdict["sha256"]) == ("r1", sizes(b"good")["sha256"])


def test_when_none_passed_there_is_no_model_to_push(run):
    folder = run((b"a", "fail", 1), (b"b", "inconclusive", 2))
    note = json.loads((folder / "selection.json").read_text())
    assert note["selected"] is None and len(note["candidates"]) == 2
    assert sorted(p.name for p in folder.iterdir()) == ["selection.json"]


def test_a_file_that_was_not_judged_is_not_shipped(run, tmp_path):
    with pytest.raises(GateError, match="^the variant r0 must be the file that was judged") as caught:
        run((b"swapped", "pass", 1), judged_on=b"judged")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "selection" / "model.tflite").exists()
