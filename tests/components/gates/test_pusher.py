"""Pusher: nothing leaves without a passing verdict on the very file."""

import json
from pathlib import Path

import pytest

from components.common.artifacts import PrivacyStatement, Selection
from components.common.errors import GateError
from components.common.tflite import sizes
from components.common.tfx_nodes import standard_artifacts
from components.gates.pusher import Pusher
from components.gates.serving import served
from components.privacy.accounting import Mechanism
from components.privacy.statement import Statement

CONTENT = b"the model"
VERDICT = {"recipe": "int8", "verdict": "pass", **sizes(CONTENT), "accuracy": 0.84, "drop": 0.001}


@pytest.fixture
def run(artifact, execute, tmp_path):
    """Runs Pusher; returns its output. What is given as None is not there."""

    def pushed(selected: str | None = "int8", content: bytes | None = CONTENT, verdict: dict | None = VERDICT):
        selection = artifact(Selection, "selection")
        Path(selection.uri, "selection.json").write_text(json.dumps({"selected": selected, "candidates": []}))
        if content is not None:
            Path(selection.uri, "model.tflite").write_bytes(content)
        if verdict is not None:
            Path(selection.uri, "verdict.json").write_text(json.dumps(verdict))
        statement = artifact(PrivacyStatement, "statement")
        mechanism = Mechanism(noise_multiplier=1.0, sampling_probability=0.1, steps=3)
        figures = {"epsilon": 2.5, "run_epsilon": 2.5, "delta": 1e-5, "l2_norm_clip": 1.0, "population": 100}
        Statement(span="d/span-1", charge=1, mechanism=mechanism, public_source="p", pretrained=False, **figures).save(
            statement.uri
        )
        output = artifact(standard_artifacts.PushedModel, "pushed")
        inputs = {"selection": selection, "statement": statement}
        execute(Pusher, inputs, {"pushed": output}, serving=str(tmp_path / "serving"))
        return output

    return pushed


def test_what_passed_is_served_with_its_manifest_and_statement(run, tmp_path):
    output = run()
    version, path = served(tmp_path / "serving")
    assert path.read_bytes() == CONTENT
    manifest = json.loads(path.with_name("manifest.json").read_text())
    assert manifest["sha256"] == sizes(CONTENT)["sha256"] and manifest["recipe"] == "int8"
    assert (manifest["epsilon"], manifest["delta"], manifest["accuracy"]) == (2.5, 1e-5, 0.84)
    assert "2.500" in path.with_name("statement.txt").read_text()
    assert output.get_int_custom_property("pushed") == 1
    assert output.get_int_custom_property("version") == version
    assert output.get_string_custom_property("path") == str(path)
    assert output.get_string_custom_property("sha256") == manifest["sha256"]


def test_when_nothing_was_selected_nothing_is_pushed_even_if_a_model_lies_there(run, tmp_path):
    output = run(selected=None)
    assert output.get_int_custom_property("pushed") == 0
    assert not (tmp_path / "serving").exists()


@pytest.mark.parametrize("verdict", ["fail", "inconclusive", "", None])
def test_a_verdict_that_is_no_pass_is_refused(run, tmp_path, verdict):
    with pytest.raises(GateError, match="^a push must have a passing verdict on the same file. Received: ") as caught:
        run(verdict={**VERDICT, "verdict": verdict})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "serving").exists()


@pytest.mark.parametrize("content", [b"the model.", b"", b"The model"])
def test_a_verdict_on_another_file_is_refused(run, tmp_path, content):
    with pytest.raises(GateError, match=f"Received: pass for {VERDICT['sha256']}$"):
        run(content=content)
    assert not (tmp_path / "serving").exists()


def test_a_verdict_that_is_missing_never_pushes(run, tmp_path):
    with pytest.raises(OSError):
        run(verdict=None)
    assert not (tmp_path / "serving").exists()


def test_a_second_push_of_the_same_model_stays_at_its_version(run, tmp_path):
    assert [run().get_int_custom_property("version") for _ in range(2)] == [1, 1]
    assert len(list((tmp_path / "serving/versions").iterdir())) == 1
