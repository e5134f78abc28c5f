"""The compiled pipeline: what Kubeflow is told, step by step."""

import dataclasses
import json

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from components.common.errors import ConfigError
from pipeline.config import Config, from_dict, load
from pipeline.runners.kubeflow.compile import compile_config
from pipeline.runners.kubeflow.slices import code_fingerprint, decode, unpacked
from pipeline.runners.nodes import bind

MARKERS = ("pushed", "idle")  # steps that say something by running
CLUSTER = """
kubeflow.image="registry.example/lockgate:7"
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
    return {name: task for name, task in found.items() if name not in ("run", "if-pushed", "if-idle")}


def executor(compiled, name: str) -> tuple[dict, dict]:
    _, spec, platform = compiled
    label = "exec-" + name.lower().replace("+", "-")
    return spec["deploymentSpec"]["executors"][label]["container"], platform["platforms"]["kubernetes"][
        "deploymentSpec"
    ]["executors"][label]


def after(container: dict, flag: str) -> str:
    return container["args"][container["args"].index(flag) + 1]


def test_it_is_kubeflows_schema_and_parses_as_that(compiled):
    _, spec, _ = compiled
    assert spec["schemaVersion"] == "2.1.0"
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())


def test_every_node_is_a_step_after_those_it_depends_on(compiled, dags, tasks):
    for name, task in tasks.items():
        if name in (*MARKERS, "report"):
            continue
        part = decode(after(executor(compiled, name)[0], "--slice"))
        (node,) = [wrapped.pipeline_node for wrapped in part.nodes]
        named = {key: other["taskInfo"]["name"] for dag in dags for key, other in dag["tasks"].items()}
        assert node.node_info.id == name
        assert {named[key] for key in task.get("dependentTasks", [])} == set(node.upstream_nodes)
    assert len(tasks) == 30 and {"DPTrainer", "Pusher", "CompressionGate-int8", "report"} <= set(tasks)


def test_kubeflows_cache_is_off_everywhere_and_a_failed_step_is_tried_again(tasks):
    assert not any(task.get("cachingOptions", {}).get("enableCache") for task in tasks.values())
    tries = {name: task["retryPolicy"].get("maxRetryCount", 0) for name, task in tasks.items() if "retryPolicy" in task}
    assert tries.pop("DPTrainer") == 0 and set(tries.values()) == {2} and len(tries) >= 27


def test_all_steps_carry_the_same_fingerprints_and_fit_into_an_argument(compiled, tasks):
    found = [executor(compiled, name)[0] for name in tasks if name not in MARKERS]
    assert {after(c, "--code") for c in found} == {code_fingerprint()}
    assert len({after(c, "--graph") for c in found}) == 1
    assert {after(c, "--run") for c in found} == {"{{$.pipeline_job_uuid}}"}
    assert max(len(argument) for c in found for argument in c["args"]) < 100_000


def test_a_kind_of_node_gets_what_its_table_says(compiled):
    trainer, on = executor(compiled, "DPTrainer")
    assert trainer["image"] == "registry.example/lockgate:7" and after(trainer, "--timeout") == "60"
    assert on["nodeSelector"] == {"labels": {"pool": "gpu"}}
    accelerator = trainer["resources"]["accelerator"]
    assert "nvidia.com/gpu" in accelerator.values() and "1" in accelerator.values()
    other, _ = executor(compiled, "Evaluator")
    assert {"0.5", "500m"} & {str(value) for value in other["resources"].values()}
    assert "accelerator" not in other["resources"]


def test_secrets_are_named_and_their_values_come_from_kubernetes(compiled, tasks):
    for name in set(tasks) - set(MARKERS):
        _, on = executor(compiled, name)
        known = {secret["secretName"]: secret["keyToEnv"] for secret in on["secretAsEnv"]}
        assert set(known) == {"lockgate-postgres", "ledger-secret"}
        variables = {pair["envVar"] for pairs in known.values() for pair in pairs}
        assert variables == {"LOCKGATE_METADATA_USER", "LOCKGATE_METADATA_PASSWORD", "LOCKGATE_LEDGER_PASSWORD"}
        assert [v["mountPath"] for v in on["pvcMount"]] == ["/mnt/lockgate"]
        assert "env" not in executor(compiled, name)[0]  # of a bucket that is not used


def test_one_secret_serves_mlmd_and_the_ledger_and_mlmds_own_server_needs_none(tmp_path):
    server = "lockgate-postgres:5432"
    settings = [f"kubeflow.ledger=postgresql://lockgate@{server}/lockgate", "kubeflow.ledger_secret=lockgate-postgres"]
    for metadata, users in (
        (f"postgresql://{server}/mlmd", {"LOCKGATE_METADATA_USER", "LOCKGATE_METADATA_PASSWORD"}),
        ("mysql://mysql:3306/mlmd", {"LOCKGATE_METADATA_USER", "LOCKGATE_METADATA_PASSWORD"}),
        ("grpc://metadata-grpc-service:8080", set()),
    ):
        compile_config(load("tiny", [*settings, f"kubeflow.metadata={metadata}"]), tmp_path / "tiny.yaml")
        _, platform = yaml.safe_load_all((tmp_path / "tiny.yaml").read_text())
        on = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-dptrainer"]
        assert {secret["secretName"] for secret in on["secretAsEnv"]} == {"lockgate-postgres"}
        variables = {pair["envVar"] for secret in on["secretAsEnv"] for pair in secret["keyToEnv"]}
        assert variables == users | {"LOCKGATE_LEDGER_PASSWORD"}


def test_where_the_bucket_is_reaches_every_step_and_who_may_use_it_comes_from_kubernetes(tmp_path):
    server = '{endpoint = "http://minio:9000", region = "north", addressing = "path", secret = "s3-secret"}'
    settings = ["kubeflow.artifacts=s3://bucket/prefix", f"kubeflow.s3={server}"]
    compile_config(load("tiny", settings), tmp_path / "tiny.yaml")
    spec, platform = yaml.safe_load_all((tmp_path / "tiny.yaml").read_text())
    executors = spec["deploymentSpec"]["executors"]
    steps = {k: v["container"] for k, v in executors.items() if k.removeprefix("exec-") not in MARKERS}
    for name, container in steps.items():
        assert {v["name"]: v["value"] for v in container["env"]} == {
            "AWS_ENDPOINT_URL_S3": "http://minio:9000",
            "AWS_DEFAULT_REGION": "north",
            "LOCKGATE_S3_ADDRESSING": "path",
        }
        on = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][name]
        (secret,) = (each for each in on["secretAsEnv"] if each["secretName"] == "s3-secret")
        keys = {pair["secretKey"]: pair["envVar"] for pair in secret["keyToEnv"]}
        assert keys == {"accesskey": "AWS_ACCESS_KEY_ID", "secretkey": "AWS_SECRET_ACCESS_KEY"}
        assert [v["mountPath"] for v in on["pvcMount"]] == ["/mnt/lockgate"]
    assert len(steps) == 28
    assert root_of(steps["exec-dptrainer"]) == "s3://bucket/prefix"


def root_of(container: dict) -> str:
    """The root that a step's slice names, once it is bound to a run."""
    part = decode(after(container, "--slice"))
    bind(part, "run-1")
    return part.runtime_spec.pipeline_root.field_value.string_value


def test_what_a_webhooks_address_must_not_hold_reaches_the_report_alone(tmp_path):
    hook = ["schedule.webhook=https://hooks.example.org/$HOOK_TOKEN/${ROOM}", "kubeflow.webhook_secret=hook-secret"]
    compile_config(load("tiny", hook), tmp_path / "tiny.yaml")
    _, platform = yaml.safe_load_all((tmp_path / "tiny.yaml").read_text())
    steps = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    given = {name: [s for s in step["secretAsEnv"] if s["secretName"] == "hook-secret"] for name, step in steps.items()}
    ((name, (secret,)),) = ((name, secrets) for name, secrets in given.items() if secrets)
    keys = {pair["secretKey"]: pair["envVar"] for pair in secret["keyToEnv"]}
    assert (name, keys) == ("exec-report", {"HOOK_TOKEN": "HOOK_TOKEN", "ROOM": "ROOM"})


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
    compile_config(load("tiny", ["kubeflow.artifacts=gs://bucket/prefix"]), tmp_path / "tiny.yaml")
    spec, _ = yaml.safe_load_all((tmp_path / "tiny.yaml").read_text())
    container = spec["deploymentSpec"]["executors"]["exec-pusher"]["container"]
    assert root_of(container) == "gs://bucket/prefix" and "env" not in container


def test_paths_are_as_in_the_image_and_the_span_is_a_parameter(compiled, config):
    file, spec, _ = compiled
    assert config.data.root not in file.read_text()
    generator = decode(after(executor(compiled, "ImportExampleGen")[0], "--slice")).nodes[0].pipeline_node
    given = generator.parameters.parameters
    assert given["input_base"].field_value.string_value == "/lockgate/data/fashion-mnist"
    assert given["range_config"].runtime_parameter.name == "span"
    assert spec["root"]["inputDefinitions"]["parameters"]["span"]["defaultValue"] == "newest"


def test_the_step_that_reads_the_data_can_ask_what_is_due_and_say_that_nothing_is(compiled, config, dags, tasks):
    carriers = [n for n in tasks if n not in MARKERS and "--settings" in executor(compiled, n)[0]["args"]]
    assert sorted(carriers) == ["ImportExampleGen", "report"]
    carried = [after(executor(compiled, name)[0], "--settings") for name in carriers]
    assert len(set(carried)) == 1 and from_dict(json.loads(unpacked(carried[0]))).schedule == config.schedule
    trigger = {t["taskInfo"]["name"]: t.get("triggerPolicy", {}) for dag in dags for t in dag["tasks"].values()}
    assert trigger["if-idle"]["condition"].endswith("['pipelinechannel--importexamplegen-idle'] == 'true'")
    assert trigger["if-pushed"]["condition"].endswith("['pipelinechannel--pusher-pushed'] == 'true'")


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
