"""TFX glue of the pruning stage."""

from components.common.compressed import load_compressed
from components.common.layer_inputs import public_inputs
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
    earlier: InputArtifact[list[standard_artifacts.Examples]] = None,
) -> None:
    """Prunes `model`; reads the split that `config` names, or none."""
    stage, images = from_json(PruneConfig, config), from_json(DataConfig, data)
    tuning = tuning_of(stage, model, examples, earlier, pruned, images, account)
    public = public_inputs(stage.compensate, examples.uri, images.image_shape)
    prune(load_compressed(model.uri), stage, tuning.tune, public).save(pruned.uri)
    tuning.statement.save(pruned.uri)
