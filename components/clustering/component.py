"""TFX glue of the clustering stage."""

from components.clustering.config import ClusterConfig
from components.clustering.core import cluster
from components.common.compressed import load_compressed
from components.common.layer_inputs import public_inputs
from components.common.settings import from_json
from components.common.tfx_nodes import InputArtifact, OutputArtifact, Parameter, component, standard_artifacts
from components.dp_training.tuning import tuning_of
from components.example_gen.config import DataConfig


@component
def Clusterer(
    model: InputArtifact[standard_artifacts.Model],
    examples: InputArtifact[standard_artifacts.Examples],
    clustered: OutputArtifact[standard_artifacts.Model],
    config: Parameter[str],
    data: Parameter[str],
    account: Parameter[str],
    earlier: InputArtifact[list[standard_artifacts.Examples]] = None,
) -> None:
    """Clusters `model`; reads the split that `config` names, or none."""
    stage, images = from_json(ClusterConfig, config), from_json(DataConfig, data)
    tuning = tuning_of(stage, model, examples, earlier, clustered, images, account)
    public = public_inputs(stage.compensate, examples.uri, images.image_shape)
    cluster(load_compressed(model.uri), stage, tuning.tune, public).save(clustered.uri)
    tuning.statement.save(clustered.uri)
