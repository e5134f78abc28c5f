"""TFX glue of the gate: read what was measured of one variant, judge it, write the verdict."""

import dataclasses
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from components.common.artifacts import Probes, Scores, Variant, Verdict
from components.common.content import sha256, sizes
from components.common.errors import GateError, ModelError
from components.common.settings import from_json
from components.common.tfx_nodes import InputArtifact, OutputArtifact, Parameter, component, standard_artifacts
from components.example_gen.config import DataConfig
from components.gates import measurement
from components.gates.config import GatesConfig
from components.gates.evaluation import evaluation_of
from components.gates.judge import judge
from components.gates.measured import Measurement, Probe, Spent
from components.gates.reuse import Decisions
from components.gates.scoring.table import BEST, PARENT, SERVING, Table, read_table, variant_key
from components.privacy.config import PrivacyConfig
from components.privacy.statement import load_statement
from components.shipped.description import broken_promises
from components.shipped.latency import Interval

_SERVED = {SERVING: "the model that serves", BEST: "the best that ever served"}


@component
def CompressionGate(
    parent: InputArtifact[standard_artifacts.Model],
    variant: InputArtifact[Variant],
    probes: InputArtifact[Probes],
    scores: InputArtifact[Scores],
    evaluation: InputArtifact[standard_artifacts.ModelEvaluation],
    blessing: InputArtifact[standard_artifacts.ModelBlessing],
    verdict: OutputArtifact[Verdict],
    config: Parameter[str],
    data: Parameter[str],
    privacy: Parameter[str],
    competitors: Parameter[int],
    decisions: Parameter[str],
    counted: Parameter[str],
) -> None:
    """Judges `variant` against `parent` by what was measured on `holdout`; only `pass` blesses. The decision is counted
    in `decisions`, which takes over what was counted in the file `counted` before."""
    gates, data_config = from_json(GatesConfig, config), from_json(DataConfig, data)
    facts = json.loads(Path(variant.uri, "variant.json").read_text())
    content = Path(variant.uri, "model.tflite").read_bytes()
    models = json.loads(Path(scores.uri, "models.json").read_text())
    probed = json.loads(Path(probes.uri, "probes.json").read_text()).get(facts["recipe"])
    _require_same(facts, content, models, probed)
    table = read_table(str(Path(scores.uri, "table")), tuple(models), gates.slices, len(data_config.classes))
    each = gates.alpha / gates.planned_decisions
    spent = Decisions(decisions, counted).take(table.digests, _key(models, config), each)
    statement = load_statement(variant.uri)
    measured = Measurement(
        overall=measurement.against(table, PARENT, facts["recipe"]),
        slices=measurement.by_slice(table, facts["recipe"], data_config.classes),
        agreement=measurement.agreement(table, facts["recipe"]),
        served={_SERVED[m]: measurement.against(table, m, facts["recipe"]) for m in _SERVED if m in models},
        bytes=len(content),
        broken=_broken(facts, content),
        probe=_probe(probed),
        evaluation=evaluation_of(evaluation.uri, blessing, len(data_config.classes)),
        epsilon=statement.epsilon,
        delta=statement.delta,
        duplicates=table.duplicates,
        spent=spent,
    )
    answer, checks = judge(measured, gates, competitors, from_json(PrivacyConfig, privacy))
    result = {"verdict": answer, "checks": [dataclasses.asdict(c) for c in checks], **facts}
    result |= _shown(measured, table, facts["recipe"], len(data_config.classes), probed, parent.uri)
    result |= {"holdout": _holdout(table, gates, spent), "served": {m: models[m] for m in _SERVED if m in models}}
    text = json.dumps(result, indent=2)
    Path(verdict.uri, "verdict.json").write_text(text)
    for key in ("recipe", "sha256", "verdict"):
        verdict.set_string_custom_property(key, result[key])
    verdict.set_string_custom_property("digest", sha256(text.encode()))


def _require_same(facts: dict, content: bytes, models: dict, probed: dict | None) -> None:
    """The file that lies there now must be the one that its recipe made, that was probed and that was scored."""
    known = {
        "made": facts["sha256"],
        "probed": probed and probed["sha256"],
        "scored": models.get(variant_key(facts["recipe"])) if probed and probed["survived"] else facts["sha256"],
    }
    for what, found in known.items():
        if found != sha256(content):
            must = f"the variant {facts['recipe']} must be the file that its recipe made and that was probed and scored"
            raise GateError(f"{must}: the sha256 of what was {what} differs")


def _broken(facts: dict, content: bytes) -> tuple[str, ...]:
    """What is not as promised; a file that cannot be read back keeps no promise."""
    try:
        return tuple(broken_promises(facts, content))
    except ModelError as error:
        return (str(error),)
    except Exception as error:
        logging.exception("%s cannot be read back", facts["recipe"])
        return (f"the file must be a model that can be read back. Received: {type(error).__name__}",)


def _key(models: dict[str, str | None], config: str) -> str:
    """Names a decision by the models that it is about, and by what it asks of them."""
    return hashlib.sha256(json.dumps([models, config], sort_keys=True).encode()).hexdigest()


def _probe(probed: dict[str, Any]) -> Probe:
    ratio = probed["latency"] and Interval(**probed["latency"]["ratio"])
    complaints = tuple(probed["complaints"])
    return Probe(complaints=complaints, peak_bytes=probed["peak_bytes"], latency_ratio=ratio)


def _holdout(table: Table, gates: GatesConfig, spent: Spent) -> dict[str, Any]:
    return {
        "fingerprint": table.fingerprint,
        "examples": len(table.labels),
        "duplicates": table.duplicates,
        "decision": spent.number,
        "planned": gates.planned_decisions,
    }


def _shown(
    measured: Measurement, table: Table, recipe: str, classes: int, probed: dict[str, Any], parent_uri: str
) -> dict[str, Any]:
    """The figures that the report shows beside the verdict."""

    def confused(model: str) -> list[list[int]]:
        known = table.predictions[model] >= 0
        return measurement.confusion(table.labels[known], table.predictions[model][known], classes).tolist()

    def took(which: str) -> float | None:
        return probed["latency"] and probed["latency"][which]["median"]

    return {
        "measurement": dataclasses.asdict(measured),
        "accuracy": measured.overall.variant_accuracy,
        "drop": measured.overall.drop,
        "latency_us": took("variant"),
        "latency": probed["latency"],
        "confusion": confused(variant_key(recipe)),
        "parent": {
            "accuracy": measured.overall.parent_accuracy,
            "latency_us": took("parent"),
            "confusion": confused(PARENT),
            **sizes(Path(parent_uri, "model.tflite").read_bytes()),
        },
    }
