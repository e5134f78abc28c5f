"""The tiny preset as Kubeflow runs it: compiled, then every step a process of its own, MLMD, the ledger and the
count of decisions on one server, the pipeline's root in a bucket."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from components.privacy.ledger import Ledger
from pipeline.config import load
from pipeline.runners.kubeflow.carried import fingerprint, packed, unpacked
from tests.e2e.conftest import PROJECT, run_tiny
from tests.e2e.metadata_servers import SECRET, SECRET_NAME, stores
from tests.pipeline.runners.kubeflow.cluster import FAILED, SKIPPED, SUCCEEDED, Cluster, kill
from tests.s3_server import BUCKET, REGION, S3Server

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2400)]
ARTIFACTS = f"s3://{BUCKET}/lockgate/artifacts"


@pytest.fixture(scope="module")
def server():
    """One for MLMD, the ledger and the count of decisions, as the manifests make it."""
    with stores() as running, pytest.MonkeyPatch.context() as patch:
        running.fresh("mlmd")
        running.fresh("lockgate")
        patch.setenv("LOCKGATE_LEDGER_PASSWORD", SECRET["password"])
        yield running


@pytest.fixture(scope="module")
def place(server):
    """Where MLMD and the ledger are, as settings."""
    ledger = (f"kubeflow.ledger={server.ledger('lockgate')}", f"kubeflow.ledger_secret={SECRET_NAME}")
    return f"kubeflow.metadata={server.place('mlmd')}", *ledger


@pytest.fixture(scope="module")
def bucket(s3_running):
    """Where the pipeline's root is."""
    s3_running.furnish()
    return s3_running


@pytest.fixture(scope="module")
def secrets(bucket):
    return {SECRET_NAME: SECRET, "s3-secret": bucket.secret}


def compiled(folder: Path, root: Path, place: tuple[str, ...], bucket: S3Server, *settings: str) -> Path:
    from pipeline.runners.kubeflow.compile import compile_config

    root.mkdir(exist_ok=True)
    mounts = (f"kubeflow.source={PROJECT}", f"kubeflow.root={root}", *place)
    objects = f'{{endpoint = "{bucket.url}", region = "{REGION}", secret = "s3-secret"}}'
    there = (f"kubeflow.artifacts={ARTIFACTS}", f"kubeflow.s3={objects}")
    compile_config(load("tiny", [*mounts, *there, *settings]), folder / "tiny.yaml")
    return folder / "tiny.yaml"


@pytest.fixture(scope="module")
def ran(tmp_path_factory, place, bucket, secrets):
    """A first run on the cluster: its root, and what became of it; its first try of a step was killed."""
    folder = tmp_path_factory.mktemp("cluster")
    killed = []

    def started(name, process):
        if name == "Evaluator" and not killed:
            killed.append(name)
            kill(process)

    cluster = Cluster(folder=folder / "steps", secrets=secrets, started=started)
    file = compiled(folder, folder / "root", place, bucket)
    return folder, cluster.run(file)


def record_of(folder: Path, run) -> dict:
    return json.loads((folder / "root" / "runs" / run.id / "run.json").read_text())


def test_every_step_ends_well_and_the_killed_one_was_tried_again(ran):
    _, run = ran
    assert run.state == SUCCEEDED, run.log()
    assert {name: step.tries for name, step in run.steps.items() if step.tries != [0]} == {"Evaluator": [-9, 0]}
    assert run.states["pushed"] == SUCCEEDED and run.steps["Pusher"].outputs == {"pushed": "true"}


def test_lineage_verdicts_and_the_file_are_as_of_a_local_run(ran, tmp_path):
    folder, run = ran
    code, _ = run_tiny(tmp_path)
    local = json.loads(next(tmp_path.glob("runs/*/run.json")).read_text())
    there = record_of(folder, run)
    assert code == 0 and there["state"] == local["state"] == "pushed"

    def lineage(record):
        kinds = {row["artifact"]: (row["type"], row["node"]) for row in record["lineage"]}
        return sorted((row["type"], row["node"], sorted(kinds[i] for i in row["inputs"])) for row in record["lineage"])

    assert lineage(there) == lineage(local) and len(there["lineage"]) > 25
    verdicts = [{v["recipe"]: v["verdict"] for v in record["variants"]} for record in (there, local)]
    assert verdicts[0] == verdicts[1] and len(verdicts[0]) == 4
    assert {p.name for p in Path(there["pushed"]["path"]).parent.iterdir()} == {
        p.name for p in Path(local["pushed"]["path"]).parent.iterdir()
    }
    assert there["privacy"]["epsilon"] == pytest.approx(local["privacy"]["epsilon"], abs=0.01)


def test_kubeflow_shows_the_page_the_table_and_the_figures(ran):
    folder, run = ran
    report, record = run.steps["report"], record_of(folder, run)
    assert report.artifacts["page"].read_text().startswith("<!doctype html>")
    table = report.artifacts["variants"].read_text()
    assert all(f"| {variant['recipe']} |" in table for variant in record["variants"]) and ", pushed |" in table
    assert report.metrics["pushed"] == 1 and report.metrics["epsilon"] == record["privacy"]["epsilon"]


def test_no_secret_is_in_a_log_the_yaml_an_artifact_or_mlmd(ran, server, bucket):
    folder, run = ran
    files = {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    told = {**files, **bucket.objects(), "mlmd": server.server.dump("mlmd"), "ledger": server.server.dump("lockgate")}
    assert str(folder / "tiny.yaml") in files and run.id.encode() in told["mlmd"] and len(told) > len(files) + 100
    for secret in (SECRET["password"], bucket.secret_key, bucket.access_key):
        assert [place for place, content in told.items() if secret.encode() in content] == []


def test_artifacts_are_in_the_bucket_whole_and_what_must_be_locked_is_on_the_volume(ran, bucket):
    folder, run = ran
    record, root = record_of(folder, run), f"{ARTIFACTS}/"
    assert all(row["uri"].startswith(root) for row in record["lineage"])
    keys = {f"s3://{BUCKET}/{key}" for key in bucket.objects()}
    assert {f"{row['uri']}/.manifest.json" for row in record["lineage"]} <= keys
    left = {p.name for p in (folder / "root").iterdir()}
    assert left == {"graphs", "runs", "journals", "serving"}
    assert Path(record["pushed"]["path"]).is_relative_to(folder / "root" / "serving")


def test_again_everything_comes_from_the_cache_and_nothing_is_charged(ran, secrets, server):
    folder, _ = ran
    ledger = Ledger(server.ledger("lockgate"))
    before = ledger.export()
    cluster = Cluster(folder=folder / "again", secrets=secrets)
    run = cluster.run(folder / "tiny.yaml")
    record = record_of(folder, run)
    assert run.state == SUCCEEDED and record["state"] == "pushed", run.log()
    cached = {row["id"] for row in record["nodes"] if row["state"] == "cached"}
    made = {"ImportExampleGen", "StatisticsGen", "DataChecker", "DPTrainer", "Quantizer-int8", "Pruner-prune+int8"}
    assert made <= cached and not {"PrivacyAuditor", "Pusher"} & cached
    assert ledger.export() == before and record["data"]["span"] == 1


def test_a_budget_that_is_spent_is_a_run_that_pushed_nothing(ran, place, bucket, secrets):
    folder, _ = ran
    cluster = Cluster(folder=folder / "refused", secrets=secrets)
    changed = ("privacy.budget_epsilon=3.0", "trainer.learning_rate=0.4")
    (folder / "other").mkdir()
    run = cluster.run(compiled(folder / "other", folder / "root", place, bucket, *changed))
    record = record_of(folder, run)
    assert run.state == SUCCEEDED and (record["state"], record["exit_code"]) == ("refused", 3), run.log()
    assert run.states["if-pushed"] == SKIPPED and "pushed" not in run.steps and "the budget of span" in record["error"]
    assert "is skipped, because the run was refused" in run.steps["Selector"].log


def test_what_does_not_fit_together_is_one_line_and_exit_code_2(ran, secrets):
    folder, _ = ran
    text = (folder / "tiny.yaml").read_text()
    other = folder / "other.yaml"
    brought = re.search("--carries=([\\w=-]+)", text)[1]
    changed = packed(dataclasses.replace(unpacked(brought), code="c0de" * 16))
    other.write_text(text.replace(brought, changed).replace(fingerprint(brought), fingerprint(changed)))
    run = Cluster(folder=folder / "code", secrets=secrets).run(other)
    first = run.steps["ImportExampleGen"]
    assert run.state == FAILED and first.tries == [2, 2, 2]
    assert "the image must hold the code that compiled the graph" in first.log and "Traceback" not in first.log
