"""TFX glue of the clustering stage."""

from components.clustering.config import ClusterConfig
from components.clustering.core import cluster
from components.common.examples import read_split
from components.common.models import load_model, save_model
from components.common.settings import from_json
from components.common.tfx_nodes import InputArtifact, OutputArtifact, Parameter, component, standard_artifacts
from components.example_gen.config import DataConfig


@component
def Clusterer(
    model: InputArtifact[standard_artifacts.Model],
    examples: InputArtifact[standard_artifacts.Examples],
    clustered: OutputArtifact[standard_artifacts.Model],
    config: Parameter[str],
    data: Parameter[str],
) -> None:
    """Clusters `model`; reads `public` only, and only to fine-tune."""
    stage, data_config = from_json(ClusterConfig, config), from_json(DataConfig, data)
    public = read_split(examples.uri, "public", data_config.image_shape) if stage.epochs else None
    made, distinct = cluster(load_model(model.uri), stage, public)
    save_model(made, clustered.uri)
    for layer, count in distinct.items():
        clustered.set_int_custom_property(f"clusters_{layer}", count)
