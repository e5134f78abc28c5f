"""TFX glue of the push: nothing leaves without a verdict that belongs to the very file."""

import json
from pathlib import Path

from components.common.artifacts import PrivacyStatement, Selection
from components.common.errors import GateError
from components.common.tflite import sizes
from components.common.tfx_nodes import InputArtifact, OutputArtifact, Parameter, component, standard_artifacts
from components.gates.core import PASS
from components.gates.serving import push


@component
def Pusher(
    selection: InputArtifact[Selection],
    statement: InputArtifact[PrivacyStatement],
    pushed: OutputArtifact[standard_artifacts.PushedModel],
    serving: Parameter[str],
) -> None:
    """Pushes the selected variant into the folder `serving`; if none was selected, pushes nothing and says so."""
    choice = json.loads(Path(selection.uri, "selection.json").read_text())
    pushed.set_int_custom_property("pushed", int(choice["selected"] is not None))
    if choice["selected"] is None:
        return
    content = Path(selection.uri, "model.tflite").read_bytes()
    verdict = json.loads(Path(selection.uri, "verdict.json").read_text())
    if verdict["verdict"] != PASS or verdict["sha256"] != sizes(content)["sha256"]:
        received = f"{verdict['verdict']} for {verdict['sha256']}"
        raise GateError(f"a push must have a passing verdict on the same file. Received: {received}")
    words = Path(statement.uri, "statement.txt").read_bytes()
    files = {
        "model.tflite": content,
        "manifest.json": json.dumps(_manifest(verdict, statement.uri), indent=2).encode(),
        "statement.txt": words,
    }
    version, path = push(Path(serving), files)
    pushed.set_int_custom_property("version", version)
    pushed.set_string_custom_property("path", str(path))
    pushed.set_string_custom_property("sha256", verdict["sha256"])
    pushed.set_string_custom_property("recipe", verdict["recipe"])


def _manifest(verdict: dict, statement_uri: str) -> dict:
    promise = json.loads(Path(statement_uri, "statement.json").read_text())
    figures = {key: verdict[key] for key in ("recipe", "sha256", "bytes", "gzip_bytes", "accuracy", "drop")}
    return {
        **figures,
        "input": "image, [0, 1] after dividing by 255, then quantized by the input's scale and zero point",
        "output": "logits, one a class",
        "epsilon": promise["epsilon"],
        "delta": promise["delta"],
    }
