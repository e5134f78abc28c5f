"""TFX glue of the selection."""

import json
import shutil
from pathlib import Path

from components.common.artifacts import Selection, Variant, Verdict
from components.common.content import sha256
from components.common.errors import GateError
from components.common.settings import from_json
from components.common.tfx_nodes import InputArtifact, OutputArtifact, Parameter, component
from components.selection.config import SelectionConfig
from components.selection.core import select


@component
def Selector(
    variants: InputArtifact[list[Variant]],
    verdicts: InputArtifact[list[Verdict]],
    selection: OutputArtifact[Selection],
    config: Parameter[str],
) -> None:
    """Copies the best variant that passed, with its verdict, into `selection`; or notes that none passed."""
    found = [json.loads(Path(v.uri, "verdict.json").read_text()) for v in verdicts]
    chosen = select(found, from_json(SelectionConfig, config))
    candidates = [{key: v.get(key) for key in ("recipe", "sha256", "verdict")} for v in found]
    note = {"selected": chosen and chosen["recipe"], "candidates": candidates}
    Path(selection.uri, "selection.json").write_text(json.dumps(note, indent=2))
    if chosen is None:
        return
    variant = _variant_of(variants, chosen)
    for name in ("model.tflite", "statement.json", "statement.txt"):
        shutil.copyfile(Path(variant.uri, name), Path(selection.uri, name))
    blessing = verdicts[found.index(chosen)]
    shutil.copyfile(Path(blessing.uri, "verdict.json"), Path(selection.uri, "verdict.json"))


def _variant_of(variants: list, chosen: dict) -> Variant:
    """The variant that the verdict was passed on, found by its hash."""
    for variant in variants:
        if sha256(Path(variant.uri, "model.tflite").read_bytes()) == chosen["sha256"]:
            return variant
    recipe, wanted = chosen["recipe"], chosen["sha256"]
    raise GateError(f"the variant {recipe} must be the file that was judged. No file has sha256 {wanted}")
