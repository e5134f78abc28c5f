"""TFX glue of the push: nothing leaves without a verdict that belongs to the very file."""

import dataclasses
import json
from pathlib import Path

from components.common.artifacts import PrivacyAudit, Selection
from components.common.errors import GateError
from components.common.settings import from_json
from components.common.tflite import sha256
from components.common.tfx_nodes import InputArtifact, OutputArtifact, Parameter, component, standard_artifacts
from components.gates.core import PASS
from components.gates.serving import push
from components.privacy.account import Account
from components.privacy.statement import Statement, load_statement
from components.shipped import unpack
from components.shipped.packing import NAME, manifest, pack


@component
def Pusher(
    selection: InputArtifact[Selection],
    audit: InputArtifact[PrivacyAudit],
    pushed: OutputArtifact[standard_artifacts.PushedModel],
    account: Parameter[str],
    serving: Parameter[str],
) -> None:
    """Pushes the selected variant into the folder `serving`; if none was selected, pushes nothing and says so."""
    choice = json.loads(Path(selection.uri, "selection.json").read_text())
    pushed.set_int_custom_property("pushed", int(choice["selected"] is not None))
    if choice["selected"] is None:
        return
    content = Path(selection.uri, "model.tflite").read_bytes()
    verdict = json.loads(Path(selection.uri, "verdict.json").read_text())
    if verdict["verdict"] != PASS or verdict["sha256"] != sha256(content):
        received = f"{verdict['verdict']} for {verdict['sha256']}"
        raise GateError(f"a push must have a passing verdict on the same file. Received: {received}")
    statement = _restated(load_statement(selection.uri), from_json(Account, account), audit.uri)
    statement.save(pushed.uri)
    packed = pack(content)
    told = {**_manifest(verdict, statement), "download": manifest(content, packed, verdict["recipe"])}
    files = {
        "model.tflite": content,
        NAME: packed,
        "unpack.py": Path(unpack.__file__).read_bytes(),
        "manifest.json": json.dumps(told, indent=2).encode(),
        "statement.txt": Path(pushed.uri, "statement.txt").read_bytes(),
    }
    version, path = push(Path(serving), files)
    pushed.set_int_custom_property("version", version)
    pushed.set_string_custom_property("path", str(path))
    pushed.set_string_custom_property("sha256", verdict["sha256"])
    pushed.set_string_custom_property("recipe", verdict["recipe"])


def _restated(statement: Statement, account: Account, audit_uri: str) -> Statement:
    """The statement with the ε of everything that was charged to the span until now: the choice among variants depends
    on all of them, those that were trained further included, and of every other span behind the model."""
    audited = json.loads(Path(audit_uri, "audit.json").read_text())["epsilon"]
    now = max(statement.epsilon, audited, account.open().epsilon(statement.span, statement.delta))
    allowed = account.policy.pushable_epsilon
    if now > allowed:
        raise GateError(f"a pushed model's ε must be at most {allowed:g}. Received: {now:.3f} for {statement.span}")
    return dataclasses.replace(statement, epsilon=now)


def _manifest(verdict: dict, statement: Statement) -> dict:
    figures = {key: verdict[key] for key in ("recipe", "sha256", "bytes", "gzip_bytes", "accuracy", "drop")}
    return {
        **figures,
        "input": "image, [0, 1] after dividing by 255, then quantized by the input's scale and zero point",
        "output": "logits, one a class",
        "epsilon": statement.epsilon,
        "delta": statement.delta,
    }
