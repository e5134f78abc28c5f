"""TFX glue of the push: nothing leaves without a blessing that belongs to the very file."""

import dataclasses
import json
from pathlib import Path

from components.common.artifacts import PrivacyAudit, Selection, Variant, Verdict
from components.common.content import sha256
from components.common.errors import GateError
from components.common.settings import from_json
from components.common.tfx_nodes import InputArtifact, OutputArtifact, Parameter, component, standard_artifacts
from components.gates.push.blessing import blessed, require_same_served
from components.gates.push.serving import push
from components.gates.push.writing import writing
from components.privacy.account import Account
from components.privacy.statement import Statement, load_statement
from components.shipped import unpack
from components.shipped.packing import NAME, manifest, pack


@component
def Pusher(
    audit: InputArtifact[PrivacyAudit],
    pushed: OutputArtifact[standard_artifacts.PushedModel],
    account: Parameter[str],
    serving: Parameter[str],
    selection: InputArtifact[Selection] = None,
    variants: InputArtifact[list[Variant]] = None,
    verdicts: InputArtifact[list[Verdict]] = None,
) -> None:
    """Pushes the selected variant into the folder `serving`; if none was selected, pushes nothing and says so. Inputs
    that MLMD lost are refused here, because TFX takes them for a fault of the pipeline."""
    if selection is None:
        raise GateError("MLMD must know what the selection was made from. It does not; the log names the step")
    choice = json.loads(Path(selection.uri, "selection.json").read_text())
    pushed.set_int_custom_property("pushed", int(choice["selected"] is not None))
    if choice["selected"] is None:
        return
    content, verdict = blessed(selection, variants, verdicts)
    statement = _restated(load_statement(selection.uri), from_json(Account, account), audit.uri)
    statement.save(pushed.uri)
    Path(pushed.uri, "model.tflite").write_bytes(content)  # what later variants are measured against
    packed = pack(content)
    told = {**_manifest(verdict, statement), "download": manifest(content, packed, verdict["recipe"])}
    files = {
        "model.tflite": content,
        NAME: packed,
        "unpack.py": Path(unpack.__file__).read_bytes(),
        "manifest.json": json.dumps(told, indent=2).encode(),
        "statement.txt": Path(pushed.uri, "statement.txt").read_bytes(),
    }
    with writing(Path(serving)):
        require_same_served(Path(serving), content, verdict, choice)
        version, path = push(Path(serving), files)
    pushed.set_int_custom_property("version", version)
    pushed.set_float_custom_property("accuracy", verdict["accuracy"])
    for key, value in {"path": str(path), "sha256": sha256(content), "recipe": verdict["recipe"]}.items():
        pushed.set_string_custom_property(key, value)


def _restated(statement: Statement, account: Account, audit_uri: str) -> Statement:
    """The statement with the ε of everything that was charged until now to the spans behind the model, and to those
    behind the models that it was compared with: whether it is pushed depends on all of them."""
    audited = json.loads(Path(audit_uri, "audit.json").read_text())
    unsaid = sorted(set(audited["made_from"]) - set(statement.behind))
    if unsaid:
        raise GateError(f"a statement must name all spans behind its model. Missing: {', '.join(unsaid)}")
    compared = tuple(name for name in audited["spans"] if name not in statement.behind)
    spans = (*statement.behind, *compared)
    charged = account.open().book().epsilon(spans, statement.delta, statement.mechanism.group)
    now, allowed = max(statement.epsilon, audited["epsilon"], charged), account.policy.pushable_epsilon
    if now > allowed:
        raise GateError(f"a pushed model's ε must be at most {allowed:g}. Received: {now:.3f} for {', '.join(spans)}")
    return dataclasses.replace(statement, epsilon=now, compared=compared)


def _manifest(verdict: dict, statement: Statement) -> dict:
    figures = {key: verdict[key] for key in ("recipe", "sha256", "bytes", "gzip_bytes", "accuracy", "drop")}
    return {
        **figures,
        "input": "image, [0, 1] after dividing by 255, then quantized by the input's scale and zero point",
        "output": "logits, one a class",
        "epsilon": statement.epsilon,
        "delta": statement.delta,
        "spans": statement.behind,
        "compared": statement.compared,
    }
