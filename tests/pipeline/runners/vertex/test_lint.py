"""What the lint says of a graph is what TFX's compiler for Vertex does with it, node by node."""

from pathlib import Path

import pytest
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.components.infra_validator.component import InfraValidator
from tfx.dsl.components.common.importer import Importer
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_artifact_strategy import LatestArtifactStrategy
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.dsl.input_resolution.strategies.span_range_strategy import SpanRangeStrategy
from tfx.orchestration.kubeflow.v2 import parameter_utils
from tfx.orchestration.kubeflow.v2.pipeline_builder import PipelineBuilder
from tfx.orchestration.kubeflow.v2.step_builder import StepBuilder
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import infra_validator_pb2, range_config_pb2
from tfx.types import artifact, standard_artifacts
from tfx.types.channel import Channel
from tfx.types.channel_utils import union

from components.common.tfx_nodes import InputArtifact, OutputArtifact, Parameter, component
from pipeline.config import load
from pipeline.graph import build
from pipeline.places import places_of
from pipeline.runners.vertex import lint

TWO = {"desired_num_of_artifacts": 2}


class Nameless(artifact.Artifact):
    TYPE_NAME = "Nameless"


class Somewhere(artifact.Artifact):
    TYPE_NAME = "nowhere.Somewhere"


class Declaring(artifact.Artifact):
    TYPE_NAME = "artifacts.Declaring"
    PROPERTIES = {"number": artifact.Property(type=artifact.PropertyType.INT)}


@component
def Maker(nameless: OutputArtifact[Nameless]) -> None:
    """Makes an artifact of a type with a plain name."""


@component
def Declarer(declaring: OutputArtifact[Declaring]) -> None:
    """Makes an artifact of a type that declares a property."""


@component
def Wanderer(somewhere: OutputArtifact[Somewhere]) -> None:
    """Makes an artifact of a type that no step can import."""


@component
def Counter(number: OutputArtifact[standard_artifacts.Integer]) -> None:
    """Makes a number."""


@component
def Taker(count: Parameter[int], model: InputArtifact[standard_artifacts.Model] = None) -> None:
    """Takes a number, and may take a model."""


def few():
    """Nodes of every kind that TFX's compiler treats in a way of its own."""
    model, blessing = Channel(type=standard_artifacts.Model), Channel(type=standard_artifacts.ModelBlessing)
    imported = Importer(source_uri="gs://a/model", artifact_type=standard_artifacts.Model)
    latest = Resolver(strategy_class=LatestArtifactStrategy, model=model).with_id("Latest")
    counter = Counter()
    nodes = [
        imported.with_id("Imported"),
        Resolver(strategy_class=LatestBlessedModelStrategy, model=model, blessing=blessing).with_id("Blessed"),
        latest,
        Resolver(strategy_class=LatestArtifactStrategy, config={"desired_num_of_artifacts": 2}, model=model).with_id(
            "Two"
        ),
        Resolver(
            strategy_class=SpanRangeStrategy,
            config={"range_config": range_config_pb2.RangeConfig()},
            examples=Channel(type=standard_artifacts.Examples),
        ).with_id("Range"),
        InfraValidator(model=imported.outputs["result"], serving_spec=infra_validator_pb2.ServingSpec()),
        Maker(),
        Declarer(),
        Wanderer(),
        counter,
        Taker(count=counter.outputs["number"].future()[0].value).with_id("Dynamic"),
        Taker(count=1, model=imported.outputs["result"]).with_id("Fixed"),
        Taker(count=1, model=union([imported.outputs["result"], latest.outputs["model"]])).with_id("Either"),
    ]
    return Pipeline(pipeline_name="few", pipeline_root="gs://a", components=nodes)


def whole():
    return build(load("default"), places_of(Path("/r"), "default"), span=1)


def refused_by_tfx(pipeline: Pipeline) -> set[str]:
    """Nodes on which TFX's compiler raises."""
    found = set()
    with parameter_utils.ParameterContext():
        for node in pipeline.components:
            try:
                StepBuilder(
                    node=node,
                    deployment_config=pipeline_spec_pb2.PipelineDeploymentConfig(),
                    component_defs={},
                    dsl_context_reg=pipeline.dsl_context_registry,
                    image="an-image",
                    pipeline_info=pipeline.pipeline_info,
                    use_pipeline_spec_2_1=True,
                ).build()
            except (TypeError, ValueError, KeyError, NotImplementedError):
                found.add(node.id)
    return found


def refused_by_us(pipeline: Pipeline) -> set[str]:
    """Nodes of which the lint says that the compiler does not take them."""
    checks = (lint._strategy, lint._kind, lint._channels, lint._types)
    importable = [node for node in pipeline.components if node.id != "Wanderer"]  # the compiler does not import types
    return {node.id for node in importable if any(list(check(node)) for check in checks)}


@pytest.mark.parametrize(("graph", "count"), [(few, 6), (whole, 20)])
def test_the_lint_names_what_tfxs_compiler_refuses_and_nothing_else(graph, count):
    pipeline = graph()
    ours = refused_by_us(pipeline)
    assert ours == refused_by_tfx(pipeline) and len(ours) == count


def test_what_the_compiler_takes_and_a_step_would_not_is_named_too():
    nodes = list(few().components)
    told = {finding.node: finding.what for finding in lint.lint(nodes, "/lockgate")}
    assert told["Wanderer"][0] == "has artifacts of nowhere.Somewhere that a step cannot import"
    assert told["Dynamic"] == ("parameter `count` is what another node made, which steps on Vertex do not find",)
    assert not {"Imported", "Blessed", "Latest", "Counter", "Fixed"} & set(told)


def test_a_value_of_another_node_is_looked_for_under_a_name_that_no_task_has():
    """Why the lint refuses it: TFX's compiler itself writes it so."""
    counter = Counter()
    nodes = [counter, Taker(count=counter.outputs["number"].future()[0].value)]
    pipeline = Pipeline(pipeline_name="dynamic", pipeline_root="gs://a", components=nodes)
    spec = PipelineBuilder(pipeline, default_image="an-image", use_pipeline_spec_2_1=True).build()
    asked = spec.root.dag.tasks["Taker"].inputs.parameters["count"].task_output_parameter.producer_task
    assert asked == "Counter_task" and asked not in spec.root.dag.tasks


def test_every_place_of_the_root_that_a_node_is_given_is_known_to_the_lint():
    config = load("tiny", ['privacy.statistics="noised"', "recipes.auto={max_drop=0.005}"])
    given = build(config, places_of(Path("/the-root"), "tiny"), span=1).components
    found = {name for node in given for name, value in node.exec_properties.items() if "/the-root" in str(value)}
    assert found == set(lint._KEPT)


def test_the_part_that_is_carried_is_closed():
    nodes, image = list(whole().components), str(Path(__file__).parents[4])
    ids = {"ImportExampleGen", "StatisticsGen", "ImportSchemaGen", "ExampleValidator"}
    assert set(lint.carried(nodes, image)) == ids
    assert lint.carried([node for node in nodes if node.id != "ImportExampleGen"], image) == ["ImportSchemaGen"]
