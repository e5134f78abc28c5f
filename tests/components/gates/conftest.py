"""A parent, variants of it, a holdout and an evaluation, as the nodes before the gate leave them; and the gate's own
nodes run on them, one after the other, by their executors."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from components.common.artifacts import Probes, Scores, Variant, Verdict
from components.common.content import sizes
from components.common.examples import scaled
from components.common.models import save_model
from components.common.public_training import fit_public
from components.common.settings import to_json
from components.common.tfx_nodes import standard_artifacts
from components.common.tuning import PublicTuning
from components.gates.component import CompressionGate
from components.gates.config import GatesConfig
from components.gates.probe.component import Prober
from components.gates.scoring.component import HoldoutScorer
from components.privacy.config import PrivacyConfig
from components.quantization.core import convert
from tests.components.gates.evaluations import write_evaluation
from tests.components.settings import DATA, STATEMENT

GATES = GatesConfig(
    max_drop=0.1,
    slice_max_drop=0.2,
    max_latency_ratio=1000.0,
    max_regression=0.1,
    max_calibration_rise=0.1,
    planned_decisions=3,
)
EXAMPLES = 360


@dataclasses.dataclass(frozen=True)
class Made:
    """folder: with `parent` and `examples`; int8: a faithful variant; labels: of holdout; examples: as written."""

    folder: Path
    parent: object
    int8: bytes
    labels: np.ndarray
    records: list[bytes]


@pytest.fixture(scope="session")
def made(make_model, public, encode, example, write_split, tmp_path_factory) -> Made:
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
    noise = np.random.default_rng(5).integers(0, 20, (4, *public.images.shape))
    images = np.concatenate([public.images + n for n in noise]).astype(np.uint8)
    labels = parent.predict(scaled(images), verbose=0).argmax(1)
    labels[:30] = (labels[:30] + 1) % 3
    records = [
        example(encode(image), int(y), f"id-{i}") for i, (image, y) in enumerate(zip(images, labels, strict=True))
    ]
    write_split(folder / "examples", "holdout", records)
    return Made(folder, parent, convert(parent, "int8", scaled(public.images)), labels, records)


@pytest.fixture(scope="session")
def probe(execute):
    """Runs Prober, once a file."""
    seen = {}

    def probed(inputs, probes, content: bytes):
        if content not in seen:
            execute(Prober, inputs, {"probes": probes}, data=to_json(DATA))
            seen[content] = Path(probes.uri, "probes.json").read_text()
        Path(probes.uri, "probes.json").write_text(seen[content])

    return probed


@pytest.fixture
def gate(made, artifact, execute, probe, tmp_path):
    """Runs Prober, HoldoutScorer and CompressionGate on one variant; gives the verdict and its artifact.

    content: the file; facts: what is said of it; holdout: records instead of those made; served, best: files that serve
    and served. between: called with the artifacts before the gate runs.
    """
    runs = iter(range(100))

    def judged(
        content=None,
        blessed=1,
        statement=STATEMENT,
        gates=GATES,
        facts=None,
        holdout=None,
        served=None,
        best=None,
        evaluated=range(3),
        between=lambda inputs: None,
        write_split=None,
    ):
        name = f"run{next(runs)}"
        content = made.int8 if content is None else content

        def new(kind, what: str):
            return artifact(kind, f"{name}/{what}")

        parent, examples = new(standard_artifacts.Model, "p"), new(standard_artifacts.Examples, "e")
        shutil.rmtree(parent.uri), shutil.copytree(made.folder / "parent", parent.uri)
        examples.uri = str(made.folder / "examples")
        if holdout is not None:
            examples.uri = str(tmp_path / name / "examples")
            write_split(examples.uri, "holdout", holdout)
        variant = write_variant(new(Variant, "variant"), content, statement, facts)
        probes, scores = new(Probes, "probes"), new(Scores, "scores")
        data = to_json(DATA)
        probe({"parent": parent, "variants": [variant]}, probes, content)
        inputs = {"parent": parent, "variants": [variant], "probes": probes, "examples": examples}
        for role, file in (("serving", served), ("best", best)):
            if file is not None:
                inputs[role] = [new(standard_artifacts.PushedModel, role)]
                Path(inputs[role][0].uri, "model.tflite").write_bytes(file)
        execute(HoldoutScorer, inputs, {"scores": scores}, config=to_json(gates), data=data)
        evaluation, blessing = new(standard_artifacts.ModelEvaluation, "ev"), new(standard_artifacts.ModelBlessing, "b")
        write_evaluation(evaluation.uri, evaluated)
        if blessed is not None:
            blessing.set_int_custom_property("blessed", blessed)
        inputs = {"parent": parent, "variant": variant, "probes": probes, "scores": scores}
        inputs |= {"evaluation": evaluation, "blessing": blessing}
        between(inputs)
        verdict = new(Verdict, "verdict")
        policy = PrivacyConfig(epsilon=2.5, delta=1e-5, budget_epsilon=3.0)
        parameters = {"config": to_json(gates), "data": data, "privacy": to_json(policy), "competitors": 1}
        parameters |= {"decisions": str(tmp_path / "holdout.sqlite"), "counted": ""}
        execute(CompressionGate, inputs, {"verdict": verdict}, **parameters)
        return json.loads(Path(verdict.uri, "verdict.json").read_text()), verdict

    return judged


def write_variant(variant, content: bytes, statement, facts=None, recipe: str = "int8"):
    """Fills a Variant artifact as a quantizer does."""
    if statement:
        statement.save(variant.uri)
    Path(variant.uri, "model.tflite").write_bytes(content)
    said = {"recipe": recipe, "mode": "int8", "layers": [], **sizes(content), **(facts or {})}
    Path(variant.uri, "variant.json").write_text(json.dumps(said))
    for key in ("recipe", "sha256"):
        variant.set_string_custom_property(key, said[key])
    return variant


def reasons(verdict: dict) -> dict[str, str]:
    """The verdicts of the gates that do not pass."""
    return {c["gate"]: c["verdict"] for c in verdict["checks"] if c["verdict"] not in ("pass", "not applicable")}
