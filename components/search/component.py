"""TFX glue of a recipe by accuracy: one node that writes the variant and how it was found."""

import json
from pathlib import Path

from components.common.artifacts import DataCheck, Variant
from components.common.compressed import load_compressed
from components.common.examples import read_split
from components.common.settings import from_json
from components.common.tfx_nodes import InputArtifact, OutputArtifact, Parameter, component, standard_artifacts
from components.dp_training.charged import run_key
from components.dp_training.window import fingerprint_of
from components.example_gen.config import DataConfig
from components.gates.config import GatesConfig
from components.privacy.statement import load_statement
from components.search.config import SearchConfig
from components.search.core import search
from components.search.target import Target
from components.shipped.variant import write_variant


@component
def CompressionSearch(
    parent: InputArtifact[standard_artifacts.Model],
    examples: InputArtifact[standard_artifacts.Examples],
    check: InputArtifact[DataCheck],
    variant: OutputArtifact[Variant],
    config: Parameter[str],
    gates: Parameter[str],
    data: Parameter[str],
    recipe: Parameter[str],
    competitors: Parameter[int],
    journals: Parameter[str],
) -> None:
    """Searches on `validation` and `public`; of `holdout` it knows the number of examples, and nothing else."""
    settings, data_config = from_json(SearchConfig, config), from_json(DataConfig, data)
    counts = json.loads(Path(check.uri, "check.json").read_text())["examples"]
    target = Target.under(from_json(GatesConfig, gates), settings, counts["holdout"], competitors)
    validation, public = (read_split(examples.uri, role, data_config.image_shape) for role in ("validation", "public"))
    came_in = load_compressed(parent.uri)
    run = run_key("search", config, data, came_in.fingerprint(), fingerprint_of(examples))
    found = search(came_in.model, validation, public, settings, target, Path(journals, f"search-{run}"))
    facts = {**found.chosen.measured.described, "recipe": recipe}
    Path(variant.uri, "search.json").write_text(json.dumps({"recipe": recipe, **found.facts()}, indent=2))
    statement = load_statement(parent.uri)  # what was read besides weights is public, so that ε is the parent's
    write_variant(variant, found.file, facts, statement)
