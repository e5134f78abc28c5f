"""The compiled pipeline: what Kubeflow is told, step by step."""

import dataclasses
import json

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from components.common.errors import ConfigError
from pipeline.config import Config, from_dict, load
from pipeline.runners.kubeflow import limits, size
from pipeline.runners.kubeflow.carried import Carried, among, fingerprint, packed
from pipeline.runners.kubeflow.compile import compile_config
from pipeline.runners.kubeflow.slices import code_fingerprint, sliced
from pipeline.runners.nodes import bind

FIRST, MARKER = "ImportExampleGen", "pushed"  # a step that says something by running
DAGS = ("run", "if-pushed")
RUN = {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}}
CLUSTER = """
kubeflow.image="registry.example/lockgate:7"
kubeflow.gpu_image="registry.example/lockgate:7-cuda"
kubeflow.ledger="postgresql://lockgate@ledger/lockgate"
kubeflow.ledger_secret="ledger-secret"
kubeflow.steps.default={cpu_request = "500m", memory_limit = "4Gi"}
kubeflow.steps.DPTrainer={gpu = 1, retries = 0, timeout_seconds = 60, node_selector = {pool = "gpu"}}
"""


@pytest.fixture(scope="module")
def config() -> Config:
    return load("tiny", CLUSTER.strip().splitlines())


@pytest.fixture(scope="module")
def compiled(tmp_path_factory, config):
    """The file, and its two documents."""
    file = tmp_path_factory.mktemp("compiled") / "tiny.yaml"
    compile_config(config, file)
    return file, *yaml.safe_load_all(file.read_text())


@pytest.fixture(scope="module")
def dags(compiled):
    """All DAGs of the pipeline, the inner ones too."""
    _, spec, _ = compiled
    return [spec["root"]["dag"], *(c["dag"] for c in spec["components"].values() if "dag" in c)]


@pytest.fixture(scope="module")
def tasks(dags):
    """Container steps by display name."""
    found = {task["taskInfo"]["name"]: task for dag in dags for task in dag["tasks"].values()}
    return {name: task for name, task in found.items() if name not in DAGS}


def written(tmp_path, *settings: str) -> tuple[dict, dict]:
    """The two documents of the tiny preset with settings."""
    compile_config(load("tiny", list(settings)), tmp_path / "tiny.yaml")
    return tuple(yaml.safe_load_all((tmp_path / "tiny.yaml").read_text()))


def executor(spec: dict, platform: dict, name: str) -> tuple[dict, dict]:
    """The container of a task of this display name, and what Kubernetes is told of it."""
    dags = [spec["root"]["dag"], *(c["dag"] for c in spec["components"].values() if "dag" in c)]
    (task,) = [t for dag in dags for t in dag["tasks"].values() if t["taskInfo"]["name"] == name]
    label = spec["components"][task["componentRef"]["name"]]["executorLabel"]
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return spec["deploymentSpec"]["executors"][label]["container"], pods[label]


def after(container: dict, flag: str) -> str:
    return container["args"][container["args"].index(flag) + 1]


def carried(spec: dict, platform: dict) -> Carried:
    return among(executor(spec, platform, FIRST)[0]["args"])


def test_it_is_kubeflows_schema_and_parses_as_that(compiled):
    _, spec, _ = compiled
    assert spec["schemaVersion"] == "2.1.0"
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())


def test_every_node_is_a_step_after_those_it_depends_on(compiled, dags, tasks):
    graph = carried(*compiled[1:]).graph
    behind = {n.pipeline_node.node_info.id: set(n.pipeline_node.upstream_nodes) for n in graph.nodes}
    named = {key: other["taskInfo"]["name"] for dag in dags for key, other in dag["tasks"].items()}
    before: dict[str, set[str]] = {FIRST: set()}  # which is before the group that holds all others
    for name in [n.pipeline_node.node_info.id for n in graph.nodes][1:]:
        depends = {named[key] for key in tasks[name].get("dependentTasks", [])}
        before[name] = depends.union({FIRST}, *(before[d] for d in depends))
        assert behind[name] <= before[name] and depends <= behind[name], name
        assert not any(depends & before[d] for d in depends), f"{name} says more than it must"
    assert set(tasks) == {*behind, MARKER, "report"} and len(tasks) == 29
    assert [named[key] for key in compiled[1]["root"]["dag"]["tasks"]["exit-handler-1"]["dependentTasks"]] == [FIRST]


def test_the_run_is_an_input_of_every_step_where_alone_kubeflow_fills_it_in(compiled, tasks):
    file, spec, platform = compiled
    for name in set(tasks) - {MARKER}:
        assert tasks[name]["inputs"]["parameters"]["run"] == RUN
        assert after(executor(spec, platform, name)[0], "--run") == "{{$.inputs.parameters['run']}}"
    assert not any("pipeline_job_uuid" in json.dumps(e) for e in spec["deploymentSpec"]["executors"].values())


def test_kubeflows_cache_is_off_everywhere_and_a_step_is_tried_again_however_long_it_took(tasks):
    assert not any(task.get("cachingOptions", {}).get("enableCache") for task in tasks.values())
    tries = {name: task["retryPolicy"].get("maxRetryCount", 0) for name, task in tasks.items()}
    assert tries.pop("DPTrainer") == 0 and set(tries.values()) == {2} and len(tries) == 28
    within = {name: int(task["retryPolicy"]["backoffMaxDuration"].rstrip("s")) for name, task in tasks.items()}
    assert within.pop("DPTrainer") == 60 + 600
    assert set(within.values()) == {3 * (6 * 3600 + 600) + 10 + 20}  # of which the last try may begin after 2 * 6 hours


def test_all_steps_name_what_the_first_one_brings_and_fit_into_arguments(compiled, tasks):
    spec, platform = compiled[1:]
    found = {name: executor(spec, platform, name)[0] for name in tasks if name != MARKER}
    (graph,) = {after(c, "--graph") for c in found.values()}
    assert [name for name, c in found.items() if among(c["args"])] == [FIRST]
    assert fingerprint(packed(among(found[FIRST]["args"]))) == graph
    assert among(found[FIRST]["args"]).code == code_fingerprint()
    assert after(found[FIRST], "--retries") == "2"
    assert max(len(argument) for c in found.values() for argument in c["args"]) <= 100_000


def test_steps_that_run_the_same_share_one_component(compiled, tasks):
    spec = compiled[1]
    names = [task["componentRef"]["name"] for task in tasks.values()]
    assert sum(name.startswith("comp-step") for name in names) > 20 and len(set(names)) < 8
    assert len(spec["deploymentSpec"]["executors"]) == len(set(names))
    given = {name: task["inputs"]["parameters"]["node"]["runtimeValue"]["constant"] for name, task in tasks.items()
             if name not in (MARKER, "report")}  # fmt: skip
    assert all(name == node for name, node in given.items())


def test_a_kind_of_node_gets_what_its_table_says(compiled):
    trainer, on = executor(*compiled[1:], "DPTrainer")
    assert trainer["image"] == "registry.example/lockgate:7-cuda" and after(trainer, "--timeout") == "60"
    assert (after(trainer, "--gpu"), after(trainer, "--gpu-type")) == ("1", "nvidia.com/gpu")
    assert on["nodeSelector"] == {"labels": {"pool": "gpu"}}
    accelerator = trainer["resources"]["accelerator"]
    assert "nvidia.com/gpu" in accelerator.values() and "1" in accelerator.values()
    other, _ = executor(*compiled[1:], "Evaluator")
    assert {"0.5", "500m"} & {str(value) for value in other["resources"].values()}
    assert "accelerator" not in other["resources"] and other["image"] == "registry.example/lockgate:7"
    assert "--gpu" not in other["args"]


def test_a_step_with_accelerators_needs_an_image_that_can_use_them(tmp_path):
    with pytest.raises(ConfigError, match="a step with `gpu` must have an image with CUDA"):
        written(tmp_path, "kubeflow.steps.DPTrainer={gpu = 1}")


def test_a_step_gets_the_secrets_of_the_servers_that_it_asks(compiled, tasks):
    asking = {"ImportExampleGen", "DPTrainer", "PrivacyAuditor", "Pusher", "report"}
    asking |= {name for name in tasks if name.startswith(("Pruner", "Clusterer", "Quantizer"))}  # may be private
    asking |= {name for name in tasks if name.startswith("CompressionGate")}  # count their decisions there
    asking |= {name for name in tasks if name.startswith("CompressionGate")}  # count their decisions beside the ledger
    for name in set(tasks) - {MARKER}:
        container, on = executor(*compiled[1:], name)
        known = {secret["secretName"]: secret["keyToEnv"] for secret in on["secretAsEnv"]}
        assert set(known) == {"lockgate-postgres", *(["ledger-secret"] if name in asking else [])}, name
        variables = {pair["envVar"] for pairs in known.values() for pair in pairs}
        assert variables - {"LOCKGATE_LEDGER_PASSWORD"} == {"LOCKGATE_METADATA_USER", "LOCKGATE_METADATA_PASSWORD"}
        assert [v["mountPath"] for v in on["pvcMount"]] == ["/mnt/lockgate"]
        assert "env" not in container  # of a bucket that is not used
    assert {"secretAsEnv", "pvcMount"}.isdisjoint(executor(*compiled[1:], MARKER)[1])


def test_one_secret_serves_mlmd_and_the_ledger_and_mlmds_own_server_needs_none(tmp_path):
    server = "lockgate-postgres:5432"
    settings = [f"kubeflow.ledger=postgresql://lockgate@{server}/lockgate", "kubeflow.ledger_secret=lockgate-postgres"]
    for metadata, users in (
        (f"postgresql://{server}/mlmd", {"LOCKGATE_METADATA_USER", "LOCKGATE_METADATA_PASSWORD"}),
        ("mysql://mysql:3306/mlmd", {"LOCKGATE_METADATA_USER", "LOCKGATE_METADATA_PASSWORD"}),
        ("grpc://metadata-grpc-service:8080", set()),
    ):
        _, on = executor(*written(tmp_path, *settings, f"kubeflow.metadata={metadata}"), "DPTrainer")
        assert {secret["secretName"] for secret in on["secretAsEnv"]} == {"lockgate-postgres"}
        variables = {pair["envVar"] for secret in on["secretAsEnv"] for pair in secret["keyToEnv"]}
        assert variables == users | {"LOCKGATE_LEDGER_PASSWORD"}


def test_where_the_bucket_is_reaches_the_steps_that_open_artifacts_and_who_may_use_it_comes_from_kubernetes(tmp_path):
    server = '{endpoint = "http://minio:9000", region = "north", addressing = "path", secret = "s3-secret"}'
    spec, platform = written(tmp_path, "kubeflow.artifacts=s3://bucket/prefix", f"kubeflow.s3={server}")
    for name in (FIRST, "ImportSchemaGen", "DPTrainer", "Pusher", "report"):
        container, on = executor(spec, platform, name)
        assert {v["name"]: v["value"] for v in container["env"]} == {
            "AWS_ENDPOINT_URL_S3": "http://minio:9000",
            "AWS_DEFAULT_REGION": "north",
            "LOCKGATE_S3_ADDRESSING": "path",
        }
        (secret,) = (each for each in on["secretAsEnv"] if each["secretName"] == "s3-secret")
        keys = {pair["secretKey"]: pair["envVar"] for pair in secret["keyToEnv"]}
        assert keys == {"accesskey": "AWS_ACCESS_KEY_ID", "secretkey": "AWS_SECRET_ACCESS_KEY"}
        assert [v["mountPath"] for v in on["pvcMount"]] == ["/mnt/lockgate"]
    for name in ("Baseline", "Lineage", "Served", MARKER):  # what asks MLMD alone, and what asks nobody
        container, on = executor(spec, platform, name)
        assert "env" not in container and "s3-secret" not in json.dumps(on)
    assert root_of(spec, platform) == "s3://bucket/prefix"


def root_of(spec: dict, platform: dict) -> str:
    """The root that the graph names, once it is bound to a run."""
    part = sliced(carried(spec, platform).graph, "DPTrainer")
    bind(part, "run-1")
    return part.runtime_spec.pipeline_root.field_value.string_value


def test_what_a_webhooks_address_must_not_hold_reaches_the_steps_that_close_a_run(tmp_path):
    hook = ["schedule.webhook=https://hooks.example.org/$HOOK_TOKEN/${ROOM}", "kubeflow.webhook_secret=hook-secret"]
    spec, platform = written(tmp_path, *hook)
    steps = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    given = {name: [s for s in step.get("secretAsEnv", []) if s["secretName"] == "hook-secret"]
             for name, step in steps.items()}  # fmt: skip
    assert sorted(name for name, secrets in given.items() if secrets) == ["exec-importexamplegen", "exec-report"]
    for name in ("exec-importexamplegen", "exec-report"):
        ((secret,),) = [given[name]]
        keys = {pair["secretKey"]: pair["envVar"] for pair in secret["keyToEnv"]}
        assert keys == {"HOOK_TOKEN": "HOOK_TOKEN", "ROOM": "ROOM"}


def test_a_step_gets_what_an_engineer_of_the_platform_sets(tmp_path):
    spec, platform = written(
        tmp_path,
        'kubeflow.image_pull_secrets=["registry"]',
        "kubeflow.image_pull_policy=Always",
        "kubeflow.run_seconds=86400",
        'kubeflow.steps.default={tolerations = [{key = "spot", operator = "Exists"}], labels = {team = "vision"}, '
        'ephemeral_storage = "20Gi", memory_limit = "4Gi", retries = 1}',
        'kubeflow.steps.DPTrainer={tolerations = [{key = "gpu", value = "a", effect = "NoExecute", seconds = 60}], '
        'annotations = {"example.org/cost" = "7 per day"}, memory_limit = "16Gi", retries = 2, timeout_seconds = 60}',
    )
    for name in (FIRST, "Evaluator", "report", MARKER):
        _, on = executor(spec, platform, name)
        assert on["imagePullSecret"] == [{"secretName": "registry"}] and on["imagePullPolicy"] == "Always"
        assert on["tolerations"] == [{"key": "spot", "operator": "Exists"}]
        assert on["podMetadata"] == {"labels": {"team": "vision"}}
        assert on["activeDeadlineSeconds"] == str(6 * 3600 + 600)
        scratch = {"volumeName": "lockgate-scratch", "mountPath": "/tmp", "sizeLimit": "20Gi"}
        assert on["emptyDirMounts"] == [scratch]
    container, on = executor(spec, platform, "DPTrainer")
    wanted = {"key": "gpu", "operator": "Equal", "value": "a", "effect": "NoExecute", "tolerationSeconds": "60"}
    assert on["tolerations"] == [wanted] and on["podMetadata"]["annotations"] == {"example.org/cost": "7 per day"}
    assert on["podMetadata"]["labels"] == {"team": "vision"} and on["activeDeadlineSeconds"] == "660"
    assert {"16Gi", 17.179869184} & set(container["resources"].values())
    assert platform["platforms"]["kubernetes"]["pipelineConfig"] == {"activeDeadlineSeconds": 86400}
    tasks = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    tries = {key: tasks[key]["retryPolicy"].get("maxRetryCount") for key in ("dptrainer", "evaluator")}
    assert tries == {"dptrainer": 2, "evaluator": 1}  # also where a kind says what is built in


def test_a_table_of_a_kind_of_node_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="`kubeflow.steps` must name kinds of node .* Received: DpTrainer"):
        written(tmp_path, 'kubeflow.steps.DpTrainer={cpu_request = "2"}')


def test_a_graph_that_a_cluster_could_not_keep_is_refused_and_how_many_recipes_fit_is_said(tmp_path, monkeypatch):
    config = load("tiny")
    whole = compile_config(config, tmp_path / "whole.yaml").fullness
    three = dataclasses.replace(config, recipes=config.recipes[:3])
    fewer = compile_config(three, tmp_path / "three.yaml").fullness
    assert fewer < whole < 0.3
    monkeypatch.setattr(limits, "KEPT", int(limits.KEPT * (whole + fewer) / 2))
    with pytest.raises(ConfigError, match="all that Argo keeps. Received: .* Of 4 recipes the first 3 fit"):
        compile_config(config, tmp_path / "large.yaml")
    assert {path.name for path in tmp_path.iterdir()} == {"whole.yaml", "three.yaml"}


def test_data_in_a_bucket_is_refused_because_no_step_could_read_it(tmp_path):
    with pytest.raises(ConfigError, match="`data.root` must be a folder .* Received: gs://…"):
        written(tmp_path, "data.root=gs://bucket/data")


def test_a_step_whose_name_argo_would_not_take_is_refused(tmp_path):
    def compiled_with(length: int) -> tuple[dict, dict]:
        return written(tmp_path, f'recipes={{"{length * "a"}"=[{{stage="quantize"}}]}}')

    spec, _ = compiled_with(105)
    tasks = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert max(len(f"{key}-driver") for key in tasks) == 128
    with pytest.raises(ConfigError, match="must be 2 characters shorter for Argo: .* CompressionGate-a+$"):
        compiled_with(107)


def test_recipes_whose_names_differ_by_signs_alone_are_tasks_of_their_own(tmp_path):
    names = ("a+b", "a.b", "a-b", "a_b", "a--b", "a-b-2")
    recipes = ", ".join(f'"{name}"=[{{stage="quantize"}}]' for name in names)
    spec, _ = written(tmp_path, f"recipes={{{recipes}}}")
    tasks = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    inputs = [task["inputs"]["parameters"] for task in tasks.values()]
    nodes = [given["node"]["runtimeValue"]["constant"] for given in inputs if "node" in given]
    for kind in ("Quantizer", "CompressionGate"):
        assert {node for node in nodes if node.startswith(kind)} == {f"{kind}-{name}" for name in names}
    assert len(nodes) == len(set(nodes))


def test_the_default_preset_takes_half_of_what_it_once_did(tmp_path):
    """Of the file, and of what Argo keeps of a run: 88,514 and 322,557 bytes at commit 108d9a3."""
    compile_config(load("default"), tmp_path / "default.yaml")
    text = (tmp_path / "default.yaml").read_text()
    assert len(text) <= 88_514 / 2 and size.sizes(*yaml.safe_load_all(text)).kept <= 322_557 / 2


def test_what_kubernetes_is_told_is_what_kubeflow_knows(compiled):
    """By the schema of the kfp-kubernetes at hand, as far as that has come; of the Python 3.11 line it has all."""
    proto = pytest.importorskip("kfp.kubernetes.kubernetes_executor_config_pb2").KubernetesExecutorConfig
    known = {field.json_name for field in proto.DESCRIPTOR.fields}
    for pod in compiled[2]["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        json_format.ParseDict({name: value for name, value in pod.items() if name in known}, proto())


def test_workers_of_beam_that_would_not_see_what_a_step_staged_are_refused(tmp_path):
    def said(*flags: str) -> str:
        beam = f"beam_pipeline_args.Evaluator={list(flags)}"
        config = load("tiny", ["kubeflow.artifacts=s3://bucket/prefix", beam])
        with pytest.raises(ConfigError) as refused:
            compile_config(config, tmp_path / "tiny.yaml")
        return str(refused.value)

    elsewhere = ("--runner=PortableRunner", "--job_endpoint=there:8099", "--environment_type=LOOPBACK")
    must = "`beam_pipeline_args.Evaluator` must run Beam in the step's own container"
    assert said(*elsewhere).startswith(must) and said("--runner=FnApiRunner", *elsewhere).startswith(must)
    beside = 'beam_pipeline_args.Evaluator=["--direct_num_workers=2", "--direct_running_mode=multi_processing"]'
    compile_config(load("tiny", ["kubeflow.artifacts=s3://bucket/prefix", beside]), tmp_path / "tiny.yaml")


def test_googles_bucket_needs_nothing_but_its_name(tmp_path):
    spec, platform = written(tmp_path, "kubeflow.artifacts=gs://bucket/prefix")
    assert root_of(spec, platform) == "gs://bucket/prefix" and "env" not in executor(spec, platform, "Pusher")[0]


def test_paths_are_as_in_the_image_and_the_span_is_a_parameter(compiled, config):
    file, spec, platform = compiled
    shared = carried(spec, platform)
    generator = sliced(shared.graph, FIRST).nodes[0].pipeline_node
    assert config.data.root not in shared.settings and config.data.root not in str(generator)
    given = generator.parameters.parameters
    assert given["input_base"].field_value.string_value == "/lockgate/data/fashion-mnist"
    assert given["range_config"].runtime_parameter.name == "span"
    assert spec["root"]["inputDefinitions"]["parameters"]["span"]["defaultValue"] == "newest"
    assert "--parameter" in executor(spec, platform, FIRST)[0]["args"]


def test_the_configuration_travels_and_all_is_skipped_where_the_first_step_says_that_nothing_is_due(compiled, config):
    _, spec, platform = compiled
    assert from_dict(json.loads(carried(spec, platform).settings)).schedule == config.schedule
    tasks = spec["root"]["dag"]["tasks"]
    assert {key: task["taskInfo"]["name"] for key, task in tasks.items()} == {
        "importexamplegen": FIRST,
        "exit-handler-1": "run",
        "report": "report",
    }
    rest, channel = tasks["exit-handler-1"], "pipelinechannel--importexamplegen-idle"
    assert rest["triggerPolicy"] == {"condition": f"inputs.parameter_values['{channel}'] == 'false'"}
    source = {"outputParameterKey": "idle", "producerTask": "importexamplegen"}
    assert rest["inputs"]["parameters"] == {channel: {"taskOutputParameter": source}}
    assert tasks["report"]["dependentTasks"] == ["exit-handler-1"]
    assert after(executor(spec, platform, FIRST)[0], "--idle") == "{{$.outputs.parameters['idle'].output_file}}"


def test_the_page_the_table_and_the_figures_are_kubeflows_own_types_and_come_however_the_run_ends(compiled, tasks):
    _, spec, _ = compiled
    made = spec["components"]["comp-report"]["outputDefinitions"]["artifacts"]
    assert {name: about["artifactType"]["schemaTitle"] for name, about in made.items()} == {
        "page": "system.HTML",
        "variants": "system.Markdown",
        "metrics": "system.Metrics",
    }
    assert tasks["report"]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"


def test_the_configuration_comes_out_of_its_mapping_as_it_went_in(config):
    assert from_dict(json.loads(json.dumps(config.as_dict()))) == config
    assert dataclasses.asdict(config)["kubeflow"]["steps"]["DPTrainer"]["gpu"] == 1
