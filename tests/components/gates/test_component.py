"""CompressionGate: one variant measured on `holdout` against its parent, and the verdict it writes."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from components.common.artifacts import Variant, Verdict
from components.common.compressed import Compressed
from components.common.errors import GateError
from components.common.examples import scaled
from components.common.models import load_model, save_model
from components.common.public_training import fit_public
from components.common.settings import to_json
from components.common.tflite import sizes
from components.common.tfx_nodes import standard_artifacts
from components.common.tuning import PublicTuning
from components.gates.component import CompressionGate
from components.gates.config import GatesConfig
from components.privacy.config import PrivacyConfig
from components.quantization.core import convert
from components.shipped.promises import kept
from components.shipped.reading import read
from tests.components.settings import DATA, STATEMENT

GATES = GatesConfig(max_drop=0.1, slice_max_drop=0.2, max_latency_ratio=1000.0)


@pytest.fixture(scope="module")
def made(make_model, public, encode, example, write_split, tmp_path_factory):
    """A parent, its int8 file, and a holdout of 360 images whose labels are what the parent says, but for 30."""
    folder = tmp_path_factory.mktemp("gate")
    (folder / "parent").mkdir()
    parent = make_model()
    parent.get_layer("logits").bias.assign([0.0, 0.0, 0.0])
    kernel = parent.get_layer("logits").kernel
    kernel.assign(kernel - np.mean(kernel, axis=1, keepdims=True))
    fit_public(parent, public, PublicTuning(epochs=12, learning_rate=0.02))
    save_model(parent, str(folder / "parent"))
    (folder / "parent/model.tflite").write_bytes(convert(parent, "float32"))
    images = np.concatenate([public.images] * 4)
    labels = parent.predict(scaled(images), verbose=0).argmax(1)
    labels[:30] = (labels[:30] + 1) % 3
    records = [example(encode(image), int(label)) for image, label in zip(images, labels, strict=True)]
    write_split(folder / "examples", "holdout", records)
    return folder, convert(parent, "int8", scaled(public.images)), labels


@pytest.fixture
def run(made, artifact, execute):
    """Runs the gate; returns (verdict.json, the artifact). content: what lies there; facts: what was said of it."""

    def judged(content=None, blessed=1, statement=STATEMENT, gates=GATES, facts=None):
        folder, int8, _ = made
        content = int8 if content is None else content
        inputs = {
            "parent": artifact(standard_artifacts.Model, "p"),
            "variant": artifact(Variant, "variant"),
            "examples": artifact(standard_artifacts.Examples, "e"),
            "blessing": artifact(standard_artifacts.ModelBlessing, "blessing"),
        }
        inputs["parent"].uri, inputs["examples"].uri = str(folder / "parent"), str(folder / "examples")
        if blessed is not None:
            inputs["blessing"].set_int_custom_property("blessed", blessed)
        if statement:
            statement.save(inputs["variant"].uri)
        Path(inputs["variant"].uri, "model.tflite").write_bytes(content)
        said = {"recipe": "int8", "mode": "int8", "layers": [], **sizes(content), **(facts or {})}
        Path(inputs["variant"].uri, "variant.json").write_text(json.dumps(said))
        output = artifact(Verdict, "verdict")
        policy = PrivacyConfig(epsilon=2.5, delta=1e-5, budget_epsilon=3.0)
        parameters = {"config": to_json(gates), "data": to_json(DATA), "privacy": to_json(policy), "competitors": 1}
        execute(CompressionGate, inputs, {"verdict": output}, **parameters)
        return json.loads(Path(output.uri, "verdict.json").read_text()), output

    return judged


def reasons(verdict: dict) -> dict[str, str]:
    return {c["gate"]: c["verdict"] for c in verdict["checks"] if c["verdict"] != "pass"}


def test_a_faithful_variant_passes_and_its_figures_add_up(made, run):
    verdict, output = run()
    assert reasons(verdict) == {} and verdict["verdict"] == "pass"
    assert verdict["sha256"] == sizes(made[1])["sha256"] == output.get_string_custom_property("sha256")
    assert output.get_string_custom_property("verdict") == "pass"
    confusion = np.array(verdict["confusion"])
    assert confusion.sum() == 360
    np.testing.assert_array_equal(confusion.sum(axis=1), np.bincount(made[2], minlength=3))
    assert verdict["accuracy"] == pytest.approx(np.trace(confusion) / 360)
    assert verdict["parent"]["accuracy"] == pytest.approx(330 / 360)
    assert verdict["drop"] == pytest.approx(verdict["parent"]["accuracy"] - verdict["accuracy"])


def test_a_variant_that_guesses_fails_on_accuracy(made, run, public):
    parent = load_model(str(made[0] / "parent"))
    parent.set_weights([np.zeros_like(w) for w in parent.get_weights()])
    verdict, _ = run(convert(parent, "int8", scaled(public.images)))
    assert verdict["verdict"] == "fail" and reasons(verdict)["accuracy"] == "fail"


def test_a_float_file_under_an_int8_promise_fails(made, run):
    verdict, _ = run((made[0] / "parent/model.tflite").read_bytes())
    assert reasons(verdict) == {"structure": "fail"} and verdict["verdict"] == "fail"


def test_a_promise_that_the_file_does_not_keep_fails_with_the_layer(made, run):
    said = kept(Compressed(model=load_model(str(made[0] / "parent"))), read(made[1]))
    layers = [dataclasses.asdict(k) for k in said]
    assert reasons(run(facts={"layers": layers})[0]) == {}
    layers[1].update(promised_sparsity=0.5, sparsity=0.5)  # what is said to be in the file is not believed
    verdict, _ = run(facts={"layers": layers})
    assert reasons(verdict) == {"structure": "fail"}
    (check,) = [c for c in verdict["checks"] if c["gate"] == "structure"]
    assert "layer dense must hold 50.00 % zeros in the file" in check["sentence"]


@pytest.mark.parametrize(("blessed", "says"), [(0, "fail"), (None, "inconclusive")])
def test_a_parent_that_the_evaluator_did_not_bless_does_not_pass(run, blessed, says):
    verdict, output = run(blessed=blessed)
    assert reasons(verdict) == {"evaluator": says} and verdict["verdict"] == says
    assert output.get_string_custom_property("verdict") == says


def test_a_variant_over_the_budget_does_not_pass(run):
    verdict, _ = run(statement=dataclasses.replace(STATEMENT, epsilon=3.01))
    assert reasons(verdict) == {"privacy": "fail"}


def test_a_variant_without_a_statement_is_refused(run, tmp_path):
    with pytest.raises(GateError, match="^a model must come with a privacy statement"):
        run(statement=None)
    assert not (tmp_path / "verdict/verdict.json").exists()


def test_a_file_that_its_recipe_did_not_make_is_refused_before_it_is_measured(run, tmp_path):
    with pytest.raises(GateError, match="^the variant int8 must be the file that its recipe made: its sha256 differs$"):
        run(b"not even a model", facts={"sha256": "0" * 64})
    assert not (tmp_path / "verdict/verdict.json").exists()
