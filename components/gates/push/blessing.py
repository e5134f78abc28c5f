"""Whether a blessing belongs to the very file that would be pushed. All doubt refuses."""

import json
import math
from pathlib import Path

from components.common.content import sha256
from components.common.errors import GateError
from components.gates.push.serving import served, withdrawn
from components.gates.verdict import PASS

_KEYS = ("recipe", "sha256", "verdict", "accuracy", "drop", "bytes", "gzip_bytes", "checks", "served")


def blessed(selection, variants: list, verdicts: list) -> tuple[bytes, dict]:
    """The content of the selected file, and the verdict on it.

    Args:
        selection: the Selection artifact. variants, verdicts: all that competed, as MLMD knows them.

    Raises:
        GateError: there is no file; no blessing, or one that is another model's, older than the model, not a pass, or
            not what the gate wrote.
    """
    content, said = _read(selection.uri, "model.tflite"), _read(selection.uri, "verdict.json")
    hashed = sha256(content)
    made = _one(variants, "variant", hashed)
    blessing = _one(verdicts, "blessing", hashed)
    if not blessing.id > made.id:
        raise GateError(f"a blessing must be younger than its model. Received: {blessing.id} for {made.id}")
    if blessing.get_string_custom_property("verdict") != PASS:
        raise GateError(f"a push must have a pass. Received: {blessing.get_string_custom_property('verdict')}")
    if blessing.get_string_custom_property("digest") != sha256(said):
        raise GateError(f"a blessing must be what the gate wrote. Another one lies in {selection.uri}")
    verdict = json.loads(said)
    missing = [key for key in _KEYS if key not in verdict]
    if missing or not math.isfinite(verdict["accuracy"]) or not math.isfinite(verdict["drop"]):
        raise GateError(f"a blessing must be whole. Missing: {', '.join(missing) or 'finite figures'}")
    if verdict["verdict"] != PASS or verdict["sha256"] != hashed:
        raise GateError(f"a push must have a pass on the same file. Received: {verdict['verdict']}")
    return content, verdict


def require_same_served(folder: Path, content: bytes, verdict: dict, choice: dict) -> None:
    """What serves now must be what the variant was measured against, or one of those that competed with it; and what
    was rolled back does not come again.

    Raises:
        GateError: it is not so.
    """
    if content in withdrawn(folder).values():
        raise GateError("a model that was rolled back must not be pushed again. Make another one")
    current = served(folder)
    if current is None:
        return
    known = {sha256(content), *verdict["served"].values(), *(c["sha256"] for c in choice["candidates"])}
    found = sha256(current[1].read_bytes())
    if found not in known:
        raise GateError(f"a variant must be measured against the model that serves. Version {current[0]} is another")


def _one(artifacts: list, what: str, hashed: str):
    found = [a for a in artifacts if a.get_string_custom_property("sha256") == hashed]
    if not found:
        raise GateError(f"a push must have a {what} of the very file. None of {len(artifacts)} has sha256 {hashed}")
    return max(found, key=lambda a: a.id)


def _read(uri: str, name: str) -> bytes:
    try:
        return Path(uri, name).read_bytes()
    except OSError as error:
        raise GateError(f"a push must have {name}. Received: {uri} ({error.strerror})") from None
