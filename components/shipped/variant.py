"""A variant on disk: the file that would ship, what is said of it, and the statement that goes with it."""

import json
from pathlib import Path
from typing import Any

from components.privacy.statement import Statement
from components.shipped.packing import pack


def write_variant(variant, file: bytes, facts: dict[str, Any], statement: Statement) -> None:
    """Fills a `Variant` artifact with `model.tflite`, `variant.json` and the statement.

    Args:
        facts: as `described` gives them; `download_bytes`, the size of what `packing.pack` makes of the file, is added.
    """
    Path(variant.uri, "model.tflite").write_bytes(file)
    said = {**facts, "download_bytes": len(pack(file))}
    Path(variant.uri, "variant.json").write_text(json.dumps(said, indent=2))
    statement.save(variant.uri)
    for key in ("recipe", "sha256"):
        variant.set_string_custom_property(key, facts[key])
