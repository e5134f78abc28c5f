"""TFX glue of the scoring."""

import glob
import json
import os
from pathlib import Path

import apache_beam as beam
from tfx.dsl.component.experimental.annotations import BeamComponentParameter

from components.common.artifacts import Probes, Scores, Variant
from components.common.content import sha256
from components.common.errors import DataError
from components.common.settings import from_json
from components.common.tfx_nodes import InputArtifact, OutputArtifact, Parameter, component, standard_artifacts
from components.example_gen.config import DataConfig
from components.gates.config import GatesConfig
from components.gates.scoring.job import score
from components.gates.scoring.table import BEST, PARENT, SERVING, variant_key


@component(use_beam=True)
def HoldoutScorer(
    parent: InputArtifact[standard_artifacts.Model],
    variants: InputArtifact[list[Variant]],
    probes: InputArtifact[Probes],
    examples: InputArtifact[standard_artifacts.Examples],
    scores: OutputArtifact[Scores],
    config: Parameter[str],
    data: Parameter[str],
    serving: InputArtifact[list[standard_artifacts.PushedModel]] = None,
    best: InputArtifact[list[standard_artifacts.PushedModel]] = None,
    beam_pipeline: BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Asks the parent, all variants, and the models that serve and served best, about `holdout`."""
    gates, data_config = from_json(GatesConfig, config), from_json(DataConfig, data)
    probed = json.loads(Path(probes.uri, "probes.json").read_text())
    files = sorted(glob.glob(os.path.join(glob.escape(examples.uri), "Split-holdout", "*")))
    if not files:
        raise DataError(f"split `holdout` must have files. Nothing is under {examples.uri}")
    paths: dict[str, str | None] = {PARENT: parent.uri}
    for variant in variants:
        recipe = variant.get_string_custom_property("recipe")
        alive = recipe in probed and probed[recipe]["survived"]  # a file that kills its process would kill the job
        paths[variant_key(recipe)] = os.path.join(variant.uri, "model.tflite") if alive else None
    for name, found in ((SERVING, serving), (BEST, best)):
        if found:
            paths[name] = os.path.join(found[0].uri, "model.tflite")
    with beam_pipeline as pipeline:
        score(
            pipeline,
            files,
            paths,
            gates.slices,
            data_config.image_shape,
            len(data_config.classes),
            os.path.join(scores.uri, "table"),
        )
    hashes = {name: _hash(path) for name, path in paths.items()}
    Path(scores.uri, "models.json").write_text(json.dumps(hashes, indent=2))


def _hash(path: str | None) -> str | None:
    file = Path(path, "model.tflite") if path and Path(path).is_dir() else path and Path(path)
    return sha256(file.read_bytes()) if file and file.is_file() else None
