"""TFX glue of the gate: measure one variant, judge it, write the verdict."""

import dataclasses
import json
from pathlib import Path

from components.common.artifacts import Variant, Verdict
from components.common.errors import GateError
from components.common.examples import read_split, scaled
from components.common.models import load_model
from components.common.settings import from_json
from components.common.tflite import TFLiteModel, sha256, sizes
from components.common.tfx_nodes import InputArtifact, OutputArtifact, Parameter, component, standard_artifacts
from components.example_gen.config import DataConfig
from components.gates import measurement
from components.gates.config import GatesConfig
from components.gates.core import Measurement, judge
from components.privacy.config import PrivacyConfig
from components.privacy.statement import load_statement
from components.shipped.description import broken_promises
from components.shipped.latency import latency


@component
def CompressionGate(
    parent: InputArtifact[standard_artifacts.Model],
    variant: InputArtifact[Variant],
    examples: InputArtifact[standard_artifacts.Examples],
    blessing: InputArtifact[standard_artifacts.ModelBlessing],
    verdict: OutputArtifact[Verdict],
    config: Parameter[str],
    data: Parameter[str],
    privacy: Parameter[str],
    competitors: Parameter[int],
) -> None:
    """Judges `variant` against `parent` on `holdout`; only `pass` blesses."""
    gates, data_config, policy = (
        from_json(GatesConfig, config),
        from_json(DataConfig, data),
        from_json(PrivacyConfig, privacy),
    )
    facts = json.loads(Path(variant.uri, "variant.json").read_text())
    content = Path(variant.uri, "model.tflite").read_bytes()
    if sha256(content) != facts["sha256"]:
        raise GateError(f"the variant {facts['recipe']} must be the file that its recipe made: its sha256 differs")
    said = blessing.has_custom_property("blessed")
    evaluator = blessing.get_int_custom_property("blessed") == 1 if said else None
    measured, shown = _measured(parent.uri, content, facts, examples.uri, data_config)
    measured = dataclasses.replace(measured, evaluator=evaluator, epsilon=load_statement(variant.uri).epsilon)
    answer, checks = judge(measured, gates, competitors, policy.pushable_epsilon)
    result = {"verdict": answer, "checks": [dataclasses.asdict(c) for c in checks], **facts, **shown}
    Path(verdict.uri, "verdict.json").write_text(json.dumps(result, indent=2))
    for key in ("recipe", "sha256", "verdict"):
        verdict.set_string_custom_property(key, result[key])


def _measured(parent_uri, content, facts, examples_uri, data) -> tuple[Measurement, dict]:
    """The measurement, and the figures that the report shows beside the verdict."""
    holdout = read_split(examples_uri, "holdout", data.image_shape)
    images = scaled(holdout.images)
    scores = load_model(parent_uri).predict(images, batch_size=500, verbose=0)
    parent_content = Path(parent_uri, "model.tflite").read_bytes()
    float_model, variant = TFLiteModel(parent_content), TFLiteModel(content)
    parent_classes, classes = measurement.predictions(scores), measurement.predictions(variant.scores(images))
    timed = latency(float_model, variant, images[0])
    overall = measurement.paired(holdout.labels, parent_classes, classes)
    measured = Measurement(
        overall=overall,
        classes=measurement.by_class(holdout, parent_classes, classes, data.classes),
        bytes=len(content),
        latency_ratio=timed.ratio.median,
        broken=tuple(broken_promises(facts, content)),
        evaluator=None,
        epsilon=None,
    )
    return measured, _shown(measured, holdout, parent_classes, classes, timed, parent_content)


def _shown(measured, holdout, parent_classes, classes, timed, parent_content) -> dict:
    def table(found):
        return measurement.confusion(holdout.labels[found >= 0], found[found >= 0], len(measured.classes)).tolist()

    return {
        "measurement": dataclasses.asdict(measured),
        "accuracy": measured.overall.variant_accuracy,
        "drop": measured.overall.drop,
        "latency_us": timed.variant.median,
        "latency": dataclasses.asdict(timed),
        "confusion": table(classes),
        "parent": {
            "accuracy": measured.overall.parent_accuracy,
            "latency_us": timed.parent.median,
            "confusion": table(parent_classes),
            **sizes(parent_content),
        },
    }
