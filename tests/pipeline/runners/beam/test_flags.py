"""Flags of Beam by kind of node: who gets which, and every slip is one line before anything runs."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.proto.orchestration import executable_spec_pb2, pipeline_pb2

from components.common.errors import ConfigError
from pipeline import cli
from pipeline.config import from_dict, load
from pipeline.graph import build
from pipeline.places import places_of
from pipeline.runners.beam.config import KINDS, check_text
from pipeline.runners.beam.flags import IN_PROCESS, parser_of_beam, place
from pipeline.runners.kubeflow.carried import among
from pipeline.runners.kubeflow.compile import compile_config
from pipeline.runners.kubeflow.slices import sliced

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGE = Path(__file__).parents[4] / "docs" / "beam.md"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
PORTABLE = ["--runner=PortableRunner", "--job_endpoint=jobs:8099", "--environment_type=EXTERNAL"]
PORTABLE.append("--environment_config=localhost:50000")
DATAFLOW = ["--runner=DataflowRunner", "--project=a-project", "--region=r", "--temp_location=gs://bucket/temp"]


def graph(*settings: str) -> dict:
    """Nodes of the tiny preset by id."""
    return {node.id: node for node in build(load("tiny", list(settings)), places_of(Path("/r"), "tiny"), 1).components}


def setting(kind: str, flags: list[str]) -> str:
    return f"beam_pipeline_args.{kind}={json.dumps(flags)}"


def flags_of(nodes: dict, node: str) -> list[str]:
    return nodes[node].executor_spec.beam_pipeline_args


def test_the_kinds_are_those_of_the_graph_that_run_on_beam():
    nodes = graph('privacy.statistics="noised"', "recipes.auto={max_drop=0.005}")
    found = {type(node).__name__ for node in nodes.values() if isinstance(node.executor_spec, BeamExecutorSpec)}
    assert found == set(KINDS)


def test_a_kind_has_its_own_flags_and_the_others_those_of_default():
    nodes = graph(setting("HoldoutScorer", PORTABLE), setting("default", ["--direct_num_workers=2"]))
    assert flags_of(nodes, "HoldoutScorer") == [*IN_PROCESS, *PORTABLE]
    for kind in set(KINDS) - {"HoldoutScorer"}:
        assert flags_of(nodes, kind) == [*IN_PROCESS, "--direct_num_workers=2"]
    assert {tuple(flags_of(graph(), kind)) for kind in KINDS} == {IN_PROCESS}


def test_a_step_of_kubeflow_carries_them(tmp_path):
    config = load("tiny", [setting("HoldoutScorer", PORTABLE)])
    compile_config(config, tmp_path / "tiny.yaml")
    spec = next(yaml.safe_load_all((tmp_path / "tiny.yaml").read_text()))
    arguments = spec["deploymentSpec"]["executors"]["exec-importexamplegen"]["container"]["args"]
    part = sliced(among(arguments).graph, "HoldoutScorer")
    deployment = pipeline_pb2.IntermediateDeploymentConfig()
    part.deployment_config.Unpack(deployment)
    executor = executable_spec_pb2.BeamExecutableSpec()
    deployment.executor_specs["HoldoutScorer"].Unpack(executor)
    told = [each.value.string_value for each in executor.beam_pipeline_args_placeholders]
    assert told == [*IN_PROCESS, *PORTABLE]
    assert from_dict(json.loads(json.dumps(config.as_dict()))) == config


@pytest.mark.parametrize(
    ("override", "says"),
    [
        (
            setting("Pruner", []),
            "`beam_pipeline_args.Pruner` must be a kind of node that runs on Beam: ImportExampleGen,",
        ),
        ("beam_pipeline_args=3", "`beam_pipeline_args` must be a table"),
        ("beam_pipeline_args.Evaluator=3", "`beam_pipeline_args.Evaluator` must be a list"),
        (setting("Evaluator", [3]), "`beam_pipeline_args.Evaluator[0]` must be a string"),
        (setting("Evaluator", ["--a=1", "runner=b"]), "`beam_pipeline_args.Evaluator[1]` must be one flag, --name or"),
        (setting("Evaluator", ["-a"]), "`beam_pipeline_args.Evaluator[0]` must be one flag"),
        (setting("Evaluator", ["--runner FlinkRunner"]), "must be one flag, --name or --name=value. Received"),
        (setting("Evaluator", ["--runner=a\nb"]), "must be one flag"),
        (setting("default", ["--s3_secret_access_key=Sesame"]), "must hold no secret"),
    ],
)
def test_a_slip_that_the_text_tells_is_one_line_of_exit_code_2(override, says, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["show-config", "--config", "tiny", "--set", override])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and says in said and said.count("\n") == 1 and "Sesame" not in said


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (
            ["--direct_num_workers=many"],
            "must be what Beam takes. Received: argument --direct_num_workers: invalid int",
        ),
        (
            ["--runner=FlinkRunner", "--flink_version=0.1"],
            "must be what Beam takes. Received: argument --flink_version",
        ),
        (["--temp_loc=x"], "must hold flags that Beam knows. Received: --temp_loc=x"),
        (["--runner=DaskRunner"], "must name a runner of FnApiRunner, PortableRunner, FlinkRunner, DataflowRunner"),
        (["--runner=Flink"], "must name a runner of FnApiRunner"),
        (["--runner=PortableRunner", "--job_endpont=x"], "such as --job_endpoint. Received: --job_endpont=x"),
        (["--runner=PortableRunner"], "must hold --job_endpoint=… for PortableRunner"),
        (PORTABLE[:2], "must hold --environment_type=… for PortableRunner"),
        (PORTABLE[:3], "external_service_address is required for environment type EXTERNAL"),
        (["--runner=FlinkRunner", *PORTABLE[2:]], "must hold --flink_master=… for FlinkRunner"),
        (DATAFLOW, "must hold --sdk_container_image=… for DataflowRunner"),
        (
            [*DATAFLOW, "--sdk_container_image=a"],
            "whose workers can read the root and the data; Dataflow's read gs:// alone",
        ),
    ],
)
def test_a_slip_that_beam_tells_is_one_line(flags, says):
    with pytest.raises(ConfigError) as caught:
        graph(setting("StatisticsGen", flags))
    message = str(caught.value)
    assert says in message and message.startswith("`beam_pipeline_args.StatisticsGen`") and "\n" not in message


def test_a_flag_that_only_a_job_server_knows_goes_there():
    nodes = graph(setting("default", [*PORTABLE, "--checkpointing_interval=60000"]))
    assert "--checkpointing_interval=60000" in flags_of(nodes, "Evaluator")


def test_every_flag_on_the_page_is_known_to_the_installed_beam():
    tables = [tomllib.loads(text)["beam_pipeline_args"] for language, text in BLOCKS if language == "toml"]
    assert len(tables) >= 3
    runners = set()
    for table in tables:
        check_text({kind: tuple(flags) for kind, flags in table.items()})
        for flags in table.values():
            found, unknown = parser_of_beam().parse_known_args(flags)
            assert unknown == []
            runners.add(found.runner)
    assert runners == {None, "PortableRunner", "FlinkRunner", "DataflowRunner"}
    known = {text for action in parser_of_beam()._actions for text in action.option_strings}
    others = {"--checkpointing_interval", "--service_port"}  # of Flink's job server, and of the pool
    assert set(re.findall(r"--[a-z]+_[a-z_]+", PAGE.read_text())) - known == others


def test_every_table_on_the_page_is_taken():
    for language, text in BLOCKS:
        if language == "toml":
            tables = {**load("tiny").as_dict(), **tomllib.loads(text)}
            nodes = [node for node in graph().values() if isinstance(node.executor_spec, BeamExecutorSpec)]
            place(nodes, from_dict(tables).beam_pipeline_args, paths=("gs://bucket/root",))
