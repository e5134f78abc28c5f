"""TFX glue of the pruning stage."""

from components.common.examples import read_split
from components.common.models import load_model, save_model
from components.common.settings import from_json
from components.common.tfx_nodes import InputArtifact, OutputArtifact, Parameter, component, standard_artifacts
from components.example_gen.config import DataConfig
from components.pruning.config import PruneConfig
from components.pruning.core import prune


@component
def Pruner(
    model: InputArtifact[standard_artifacts.Model],
    examples: InputArtifact[standard_artifacts.Examples],
    pruned: OutputArtifact[standard_artifacts.Model],
    config: Parameter[str],
    data: Parameter[str],
) -> None:
    """Prunes `model`; reads `public` only, and only to fine-tune."""
    stage, data_config = from_json(PruneConfig, config), from_json(DataConfig, data)
    public = read_split(examples.uri, "public", data_config.image_shape) if stage.epochs else None
    made, sparsity = prune(load_model(model.uri), stage, public)
    save_model(made, pruned.uri)
    for layer, fraction in sparsity.items():
        pruned.set_float_custom_property(f"sparsity_{layer}", fraction)
