"""The graph, or the nodes of it that are named, as a job of Vertex AI Pipelines, by TFX's KubeflowV2DagRunner."""

import json
from pathlib import Path
from typing import Any

from absl import logging
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KubeflowV2DagRunner, KubeflowV2DagRunnerConfig
from tfx.orchestration.pipeline import Pipeline

from components.common.errors import ConfigError
from pipeline.config import Config
from pipeline.places import places_in_cluster
from pipeline.runners.beam.flags import IN_PROCESS, place
from pipeline.runners.kubeflow.compile import in_image
from pipeline.runners.vertex.lint import carried, check_name, lint


def compile_config(config: Config, file: Path) -> tuple[list[str], list[str]]:
    """Writes what of a configuration's graph `[vertex]` names.

    Args:
        config: paths in it that lie in this checkout are taken to lie in the image's.
        file: to write, `.json`; it is there whole, or as it was.

    Returns:
        The ids of the nodes that Vertex runs, and of those that it does not.

    Raises:
        ConfigError: it cannot be written, or Vertex cannot carry it: a line a reason.
    """
    from pipeline.graph import nodes

    if file.suffix != ".json":
        raise ConfigError(f"`--output` must be a .json file for Vertex. Received: {file}")
    if not config.vertex.root:
        raise ConfigError("`vertex.root` must be gs://bucket/folder, where artifacts go. Received: nothing")
    config = in_image(config)
    graph = nodes(config, places_in_cluster(config), span=None)
    chosen = _chosen(graph, config.vertex.nodes)
    for node in chosen:
        node.exec_properties.pop("range_config", None)  # a span as text, which only our own steps turn into a range
    _refuse_what_is_not_carried(config, graph, chosen)
    place(chosen, config.beam_pipeline_args, paths=(config.vertex.root, config.data.root))
    _write(_job(config, chosen), file)
    ids = [node.id for node in chosen]
    return ids, [node.id for node in graph if node.id not in ids]


def _chosen(graph: list[BaseNode], named: tuple[str, ...]) -> list[BaseNode]:
    known = [node.id for node in graph]
    for id in named:
        if id not in known:
            raise ConfigError(f"`vertex.nodes` must name nodes of the graph: {', '.join(known)}. Received: {id}")
    return [node for node in graph if not named or node.id in named]


def _refuse_what_is_not_carried(config: Config, graph: list[BaseNode], chosen: list[BaseNode]) -> None:
    source = config.kubeflow.source
    found = [*check_name(config.name), *lint(chosen, source)]
    if not found:
        return
    told = "\n".join(f"  {finding}" for finding in found)
    said = f"Vertex must be able to carry every node. Received: {len(found)} of {len(chosen)} that it cannot"
    raise ConfigError(f"{said}; what it can is `vertex.nodes` = {json.dumps(carried(graph, source))}\n{told}")


def _job(config: Config, chosen: list[BaseNode]) -> dict[str, Any]:
    """A PipelineJob as JSON has it, of schema 2.1."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)  # TFX warns of every node that is left out
    try:
        pipeline = Pipeline(
            pipeline_name=config.name,
            pipeline_root=config.vertex.root,
            components=chosen,
            enable_cache=True,
            beam_pipeline_args=list(IN_PROCESS),
        )
        settings = KubeflowV2DagRunnerConfig(default_image=config.kubeflow.image, use_pipeline_spec_2_1=True)
        return KubeflowV2DagRunner(settings).run(pipeline, write_out=False)
    finally:
        logging.set_verbosity(before)


def _write(job: dict[str, Any], file: Path) -> None:
    from pipeline.run import write_whole

    try:
        write_whole(file, json.dumps(job, indent=2, sort_keys=True))
    except OSError as error:
        raise ConfigError(
            f"`--output` must be a file that can be written. Received: {file} ({error.strerror})"
        ) from None
