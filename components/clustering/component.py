"""TFX glue of the clustering stage."""

from components.clustering.config import ClusterConfig
from components.clustering.core import cluster
from components.common.compressed import load_compressed
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
) -> None:
    """Clusters `model`; reads the split that `config` names to fine-tune, or none."""
    stage = from_json(ClusterConfig, config)
    tuning = tuning_of(stage, model, examples, clustered, from_json(DataConfig, data), account)
    cluster(load_compressed(model.uri), stage, tuning.tune).save(clustered.uri)
    tuning.statement.save(clustered.uri)
