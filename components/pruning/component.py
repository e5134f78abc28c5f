"""TFX glue of the pruning stage."""

from components.common.compressed import load_compressed
from components.common.settings import from_json
from components.common.tfx_nodes import InputArtifact, OutputArtifact, Parameter, component, standard_artifacts
from components.dp_training.tuning import tuning_of
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
    account: Parameter[str],
) -> None:
    """Prunes `model`; reads the split that `config` names to fine-tune, or none."""
    stage = from_json(PruneConfig, config)
    tuning = tuning_of(stage, model, examples, pruned, from_json(DataConfig, data), account)
    prune(load_compressed(model.uri), stage, tuning.tune).save(pruned.uri)
    tuning.statement.save(pruned.uri)
