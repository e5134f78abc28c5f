"""TFX glue of the probing."""

import dataclasses
import json
from pathlib import Path

from components.common.artifacts import Probes, Variant
from components.common.content import sha256
from components.common.settings import from_json
from components.common.tfx_nodes import InputArtifact, OutputArtifact, Parameter, component, standard_artifacts
from components.example_gen.config import DataConfig
from components.gates.probe.core import probed, timed


@component
def Prober(
    parent: InputArtifact[standard_artifacts.Model],
    variants: InputArtifact[list[Variant]],
    probes: OutputArtifact[Probes],
    data: Parameter[str],
) -> None:
    """Tries every variant's file where it would serve, and times it beside the parent's; reads no example."""
    data_config = from_json(DataConfig, data)
    shape, classes = data_config.image_shape, len(data_config.classes)
    files = {v.get_string_custom_property("recipe"): Path(v.uri, "model.tflite") for v in variants}
    found = probed(files, shape, classes)
    for recipe, file in files.items():
        took = timed(Path(parent.uri, "model.tflite"), file, shape) if found[recipe]["survived"] else None
        found[recipe] |= {"latency": took and dataclasses.asdict(took), "sha256": sha256(file.read_bytes())}
    Path(probes.uri, "probes.json").write_text(json.dumps(found, indent=2))
