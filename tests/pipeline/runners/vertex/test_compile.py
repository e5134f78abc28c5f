"""What Vertex is given, and what it is told that Vertex cannot carry."""

import json
from pathlib import Path

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from components.common.errors import ConfigError
from pipeline import cli
from pipeline.config import from_dict, load
from pipeline.runners.vertex.compile import compile_config

ROOT = 'vertex.root="gs://bucket/lockgate"'
CARRIED = ["ImportExampleGen", "ImportSchemaGen", "StatisticsGen", "ExampleValidator"]
NODES = f"vertex.nodes={json.dumps(CARRIED)}"
DATAFLOW = ["--runner=DataflowRunner", "--project=a-project", "--region=r", "--temp_location=gs://bucket/temp"]


@pytest.fixture
def compiled(tmp_path):
    """Compiles the tiny preset; gives the job."""

    def run(*settings: str) -> dict:
        compile_config(load("tiny", [ROOT, NODES, *settings]), tmp_path / "tiny.json")
        return json.loads((tmp_path / "tiny.json").read_text())

    return run


def refused(*settings: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        compile_config(load("tiny", [ROOT, *settings]), Path("nowhere.json"))
    return str(caught.value).splitlines()


def container(job: dict, node: str) -> dict:
    label = job["pipelineSpec"]["components"][node]["executorLabel"]
    return job["pipelineSpec"]["deploymentSpec"]["executors"][label]["container"]


def test_it_is_kubeflows_schema_and_parses_as_a_job_of_it(compiled):
    job = compiled('kubeflow.image="registry.example/lockgate:7"')
    spec = pipeline_spec_pb2.PipelineSpec()
    json_format.ParseDict(job["pipelineSpec"], spec)
    json_format.ParseDict(job, pipeline_spec_pb2.PipelineJob())
    assert spec.schema_version == "2.1.0" and set(spec.root.dag.tasks) == set(CARRIED)
    assert job["runtimeConfig"]["gcsOutputDirectory"] == "gs://bucket/lockgate"
    assert {container(job, node)["image"] for node in CARRIED} == {"registry.example/lockgate:7"}
    after = {name: set(task.dependent_tasks) for name, task in spec.root.dag.tasks.items()}
    assert after["ExampleValidator"] == {"StatisticsGen", "ImportSchemaGen"} and not after["ImportExampleGen"]


def test_paths_are_as_in_the_image_and_nothing_is_left_to_a_run(compiled):
    job = compiled()
    given = job["pipelineSpec"]["root"]["dag"]["tasks"]["ImportExampleGen"]["inputs"]["parameters"]
    assert given["input_base"]["runtimeValue"]["constant"] == "/lockgate/data/fashion-mnist"
    assert "range_config" not in given and "inputDefinitions" not in job["pipelineSpec"]["root"]
    assert all("runtimeValue" in about for about in given.values())


def test_a_node_carries_its_flags_of_beam_and_workers_elsewhere_may_be_dataflows(compiled):
    flags = [*DATAFLOW, "--sdk_container_image=a/b:1"]
    job = compiled(f"beam_pipeline_args.StatisticsGen={json.dumps(flags)}", 'data.root="gs://bucket/images"')
    arguments = container(job, "StatisticsGen")["args"]
    assert arguments[-len(flags) :] == flags and "--runner=FnApiRunner" in arguments
    assert not set(flags) & set(container(job, "ImportExampleGen")["args"])
    given = job["pipelineSpec"]["root"]["dag"]["tasks"]["ImportExampleGen"]["inputs"]["parameters"]
    assert given["input_base"]["runtimeValue"]["constant"] == "gs://bucket/images"


def test_the_whole_graph_is_refused_with_every_node_that_cannot_be_carried_and_why():
    first, *found = refused()
    assert "Received: 23 of 27 that it cannot" in first
    assert set(json.loads(first.partition("`vertex.nodes` = ")[2])) == set(CARRIED)
    told = {}
    for line in found:
        node, what = line.strip().split(": ", 1)
        told[node], remedy = what.split(". Remedy: ")
        assert remedy
    assert len(told) == len(found) == 23 and not set(told) & set(CARRIED)
    for node, what in (
        ("Baseline", "resolves by EarlierBlessedModel, where Vertex has LatestArtifactStrategy and LatestBlessed"),
        ("Served", "resolves by ServedModels"),
        ("Lineage", "resolves by WholeLineage"),
        ("DPTrainer", "needs the ledger, with MLMD's lineage or journals in a folder that is locked"),
        ("PrivacyAuditor", "needs the ledger"),
        ("Pusher", "needs the serving folder, which is locked"),
        ("Pusher", "takes variants and verdicts of several nodes"),
        ("CompressionGate-int8", "needs the count of what `holdout` decided, a sqlite file that is locked"),
        ("DataChecker", "artifacts of DataCheck without a name like module.Type"),
        ("HoldoutScorer", "opens artifacts as files"),
        ("Evaluator", "takes what Baseline, DPTrainer made, which does not run there"),
    ):
        assert what in told[node], (node, told[node])


def test_a_stage_needs_the_ledger_only_if_it_trains_on_private_images():
    private = "{epsilon=0.5, steps=100, expected_batch_size=100, l2_norm_clip=0.5, learning_rate=0.05}"
    told = refused('recipes.p=[{stage="quantize", private=' + private + "}]")
    assert {line.strip().split(":")[0] for line in told[1:] if "needs the ledger" in line} == {
        "DPTrainer",
        "Quantizer-p",
        "PrivacyAuditor",
        "Pusher",
    }


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (['vertex.nodes=["Trainer"]'], "`vertex.nodes` must name nodes of the graph: ImportExampleGen,"),
        (['vertex.nodes=["StatisticsGen"]'], "takes what ImportExampleGen made, which does not run there"),
        ([NODES, 'name="a.b"'], "a.b: the pipeline's name is none that Vertex takes. Remedy: set `name` to a-z"),
        ([NODES, 'data.root="/mnt/images"'], "`input_base` is /mnt/images, which no step on Vertex sees. Remedy: put"),
        ([NODES, 'data.schema="/mnt/schema"'], "`schema_file` is /mnt/schema, which no step on Vertex sees"),
        ([NODES, f"beam_pipeline_args.StatisticsGen={json.dumps(DATAFLOW)}"], "must hold --sdk_container_image=…"),
        ([NODES, 'vertex.root=""'], "`vertex.root` must be gs://bucket/folder, where artifacts go"),
        ([NODES, 'vertex.root="/mnt"'], "`vertex.root` must be gs://bucket/folder"),
    ],
)
def test_what_is_not_carried_is_named(settings, says):
    with pytest.raises(ConfigError) as caught:
        compile_config(load("tiny", [ROOT, *settings]), Path("nowhere.json"))
    assert says in str(caught.value)


def test_the_command_ends_with_2_and_writes_nothing_or_with_0_and_the_file(tmp_path, capsys):
    file = tmp_path / "tiny.json"
    command = ["kubeflow", "compile", "--target", "vertex", "--config", "tiny", "--output", str(file), "--set", ROOT]
    with pytest.raises(SystemExit) as ended:
        cli.main(command)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and not file.exists() and said.startswith("lockgate: Vertex must be able to carry")
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, "--set", NODES])
    assert not ended.value.code and file.exists()
    assert "4 of 27 nodes" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        cli.main([*command[:-4], "--output", str(tmp_path / "tiny.yaml"), "--set", ROOT, "--set", NODES])
    assert ended.value.code == 2 and "`--output` must be a .json file for Vertex" in capsys.readouterr().err


def test_the_table_comes_out_of_its_mapping_as_it_went_in():
    config = load("tiny", [ROOT, NODES])
    assert from_dict(json.loads(json.dumps(config.as_dict()))) == config and config.vertex.nodes == tuple(CARRIED)
