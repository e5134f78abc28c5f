"""A recurring run on Kubeflow takes what is due, one span a firing, as `lockgate retrain` does: a small pipeline,
compiled, then run as Kubeflow runs it, MLMD on a server, beside an API server that knows which Workflows there are.

The kubelet mounts a service account's token at one path in every container. Steps here are processes of one machine, so
the scripts that they run say first where this test's token is, and are otherwise the project's own.
"""

import dataclasses
import json
import shutil
import time
from pathlib import Path

import pytest
import tensorflow as tf
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.metadata import Metadata
from tfx.orchestration.pipeline import Pipeline

from components.common import mlmd
from components.example_gen.config import ROLES
from components.example_gen.ingest import ImportExampleGen
from pipeline.config import Config, load
from pipeline.places import places_in_cluster
from pipeline.runners.beam.flags import IN_PROCESS
from pipeline.runners.kubeflow.compile import compile_graph
from pipeline.runners.kubeflow.due import ENDED
from pipeline.runners.kubeflow.settings import written
from pipeline.runners.nodes import compiled
from pipeline.schedule.state import Memory
from pipeline.spans import DUE, NEWEST, SPAN
from tests.e2e import kubeflow_nodes as nodes
from tests.e2e.conftest import PROJECT
from tests.e2e.metadata_servers import SECRET, SECRET_NAME
from tests.e2e.test_kubeflow_features import server  # noqa: F401 - a fixture
from tests.pipeline.runners.kubeflow.api_server import ApiServer, api_server
from tests.pipeline.runners.kubeflow.cluster import FAILED, SKIPPED, SUCCEEDED, Cluster, Run, kill

pytestmark = pytest.mark.cluster
PIPELINE = "due"


@dataclasses.dataclass(kw_only=True)
class Schedule:
    """A compiled pipeline that reads a span and decides on it, and where its data are."""

    folder: Path
    config: Config
    file: Path
    kubernetes: ApiServer

    @property
    def root(self) -> Path:
        return self.folder / "root"

    def fire_and_end(self, step: str) -> str:
        """Fires, and ends everything of the run while a step of it is at work; gives the run's id."""

        def started(name, process):
            if name == step:
                kill(process)
                raise _Ended

        with pytest.raises(_Ended):
            self.fire(started)
        return Memory(self.root, PIPELINE).load().claim.run

    def fire(self, started=lambda name, process: None, span: str = DUE) -> Run:
        cluster = Cluster(folder=self.folder / "steps", secrets={SECRET_NAME: SECRET}, started=started)
        return cluster.run(self.file, span=span)

    def arrive(self, span: int, whole: bool = True, marker: bool = True) -> Path:
        folder = self.folder / "data" / f"span-{span}"
        for role in ROLES:
            file = folder / role / "rows.tfrecord"
            file.parent.mkdir(parents=True)
            with tf.io.TFRecordWriter(str(file)) as written:
                written.write(tf.train.Example().SerializeToString())
            if not whole:
                file.write_bytes(file.read_bytes()[:-2])
        if marker:
            (folder / "_SUCCESS").touch()
        return folder

    def order(self, span: int, what: str) -> None:
        (self.folder / "orders" / str(span)).write_text(what)

    @property
    def tries(self) -> list[list]:
        """The spans that reached the node which decides, each with what became of it."""
        return [said for _, said in nodes.traced(self.folder / "trace")]

    def record(self, run: Run) -> dict:
        return json.loads((self.root / "runs" / run.id / "run.json").read_text())

    def examples(self) -> dict[int, str]:
        """Where MLMD says that the examples of each span are."""
        with Metadata(mlmd.connection(self.config.kubeflow.metadata)) as handle:
            found = handle.store.get_artifacts_by_type("Examples")
        return {artifact.custom_properties["span"].int_value: artifact.uri for artifact in found}

    @property
    def claimed(self) -> bool:
        """Whether a run has taken a span."""
        return Memory(self.root, PIPELINE).load().claim is not None

    @property
    def told(self) -> list[tuple]:
        """What `schedule.command` was given."""
        file = self.folder / "told"
        texts = file.read_text().replace("}{", "}\n{").splitlines() if file.exists() else []
        return [(message["outcome"], message["span"]) for message in map(json.loads, texts)]


def found_nothing(run: Run) -> bool:
    """Whether a run had nothing to do, and started the one pod that says so."""
    (first, *others) = run.steps.values()
    return (run.state, run.states["run"], first.outputs, others) == (SUCCEEDED, SKIPPED, {"idle": "true"}, [])


class _Ended(Exception):
    """A run is over, and none of its steps ended by itself."""


def image(folder: Path, kubernetes: ApiServer) -> Path:
    """A folder with the scripts that steps run, which know where the account of this test is mounted."""
    (folder / "kubeflow").mkdir(parents=True)
    for script in ("run_node.py", "report.py"):
        own = PROJECT / "kubeflow" / script
        lines = [
            f"import os, runpy, sys; sys.path.insert(0, {str(PROJECT)!r})",
            "from pathlib import Path",
            "from pipeline.runners.kubeflow import pods",
            f"os.environ.update({kubernetes.environment!r})",
            f"pods.ACCOUNT = Path({str(kubernetes.account)!r})",
            f"runpy.run_path({str(own)!r}, run_name='__main__')",
        ]
        (folder / "kubeflow" / script).write_text("\n".join(lines))
    return folder


@pytest.fixture
def kubernetes(tmp_path):
    with api_server(tmp_path / "kubernetes") as running:
        yield running


@pytest.fixture
def schedule(tmp_path, server, kubernetes) -> Schedule:  # noqa: F811
    for name in ("root", "data", "orders"):
        (tmp_path / name).mkdir()
    roles = [f"data.roles.{role}=span-{{SPAN}}/{role}/*" for role in ROLES]
    cluster = {
        "source": str(image(tmp_path / "image", kubernetes)),
        "root": str(tmp_path / "root"),
        "metadata": server.fresh(tmp_path.name),
    }
    mounts = [f"kubeflow.{key}={value}" for key, value in cluster.items()]
    told = [f"schedule.command=tee -a {tmp_path / 'told'}", 'schedule.tell=["failed", "damaged"]']
    own = [f"name={PIPELINE}", f"data.root={tmp_path / 'data'}", "data.marker=_SUCCESS", "retention.runs=1"]
    retries = ["kubeflow.steps.default={retries = 0}", "kubeflow.steps.ImportExampleGen={retries = 1}"]
    config = load("tiny", [*own, *roles, *mounts, *told, *retries])
    generator = ImportExampleGen(config.data, RuntimeParameter(name=SPAN, ptype=str, default=NEWEST))
    decider = nodes.decider(
        examples=generator.outputs["examples"], file=str(tmp_path / "trace"), orders=str(tmp_path / "orders")
    )
    pipeline = Pipeline(
        pipeline_name=PIPELINE,
        pipeline_root=places_in_cluster(config).artifacts,
        components=[generator, decider.with_id("Pusher")],
        enable_cache=True,
        beam_pipeline_args=list(IN_PROCESS),
    )
    settings = written(config)
    compile_graph(compiled(pipeline), config.kubeflow, tmp_path / "due.yaml", settings)
    return Schedule(folder=tmp_path, config=config, file=tmp_path / "due.yaml", kubernetes=kubernetes)


def test_every_span_enters_once_in_order_and_nothing_new_is_a_run_that_says_so(schedule):
    schedule.arrive(2), schedule.arrive(1), schedule.arrive(7, marker=False)
    killed = []

    def started(name, process):
        if name == "ImportExampleGen" and not killed:
            killed.append(name)
            kill(process)

    first, second = schedule.fire(started), schedule.fire()
    assert first.steps["ImportExampleGen"].tries == [-9, 0] and schedule.tries == [[1, "decide"], [2, "decide"]]
    for run, span in ((first, 1), (second, 2)):
        record = schedule.record(run)
        assert run.state == SUCCEEDED and (record["data"]["span"], record["exit_code"]) == (span, 3), run.log()
        assert run.steps["ImportExampleGen"].outputs == {"idle": "false"}
        assert "span-7 is not whole yet" in run.steps["ImportExampleGen"].log
        assert "span-7 is not whole yet" in run.steps["report"].artifacts["variants"].read_text()

    third = schedule.fire()
    assert found_nothing(third), third.log()
    said = third.steps["ImportExampleGen"].log
    assert "lockgate: ImportExampleGen is skipped, because nothing new has arrived" in said
    assert "span-7 is not whole yet" in said and third.hooks == []
    assert len(list(schedule.root.glob("runs/*"))) == 2 and len(schedule.tries) == 2
    assert "Nothing is due." in (schedule.root / "status.html").read_text() and schedule.told == []

    schedule.arrive(3)
    assert schedule.record(schedule.fire())["data"]["span"] == 3
    assert {span: Path(place).exists() for span, place in schedule.examples().items()} == {1: False, 2: False, 3: True}


def test_what_failed_is_tried_again_and_what_is_damaged_is_left_out_and_told_once(schedule):
    schedule.arrive(1), schedule.arrive(2), schedule.arrive(3), schedule.arrive(4, whole=False)
    schedule.order(1, "fail"), schedule.order(2, "damaged")
    failed = schedule.fire()
    assert failed.state == FAILED and schedule.record(failed)["cause"] == "fault"
    schedule.order(1, "decide")
    again, damaged, after = schedule.fire(), schedule.fire(), schedule.fire()
    assert [r.state for r in (again, damaged, after)] == [SUCCEEDED, FAILED, SUCCEEDED], after.log()
    assert schedule.tries == [[1, "fail"], [1, "decide"], [2, "damaged"], [3, "decide"]]
    record = schedule.record(damaged)
    assert (record["cause"], record["error"], record["exit_code"]) == ("data", "Pusher: span 2 is damaged", 2)
    table = after.steps["report"].artifacts["variants"].read_text()
    assert "span-2 is damaged and is left out until it is mended: Pusher: span 2 is damaged" in table
    assert "span-4 is damaged" in table and "rows.tfrecord must be a whole TFRecord file" in table
    assert schedule.told == [("failed", 1), ("damaged", "span-4"), ("damaged", "span-2")]

    schedule.order(2, "decide")
    assert found_nothing(schedule.fire())
    file = schedule.folder / "data" / "span-2" / "train" / "rows.tfrecord"
    file.write_bytes(2 * file.read_bytes())
    assert schedule.record(schedule.fire())["data"]["span"] == 2
    assert schedule.told[3:] == []


def test_a_span_that_goes_while_it_is_read_stops_its_run_and_no_other(schedule):
    folder, _ = schedule.arrive(1), schedule.arrive(2)

    def started(name, process):
        while process.poll() is None and name == "ImportExampleGen" and not schedule.claimed:
            time.sleep(0.02)
        shutil.rmtree(folder, ignore_errors=True)

    failed = schedule.fire(started)
    assert failed.state == FAILED and schedule.tries == []
    assert "span-1 must stay as it is while it is read. Its files" in failed.steps["ImportExampleGen"].log
    assert schedule.record(schedule.fire())["data"]["span"] == 2


def test_two_firings_at_once_do_not_take_the_same_span(schedule):
    schedule.arrive(1), schedule.arrive(2)
    inner: list[Run] = []

    def started(name, process):
        if name == "Pusher" and not inner:
            schedule.kubernetes.has("workflows", Memory(schedule.root, PIPELINE).load().claim.run, "Running")
            inner.append(schedule.fire())

    outer = schedule.fire(started)
    (other,) = inner
    assert [r.state for r in (outer, other)] == [SUCCEEDED, SUCCEEDED], other.log()
    assert schedule.tries == [[1, "decide"]] and schedule.record(outer)["data"]["span"] == 1
    assert found_nothing(other)
    assert "because another retraining of this pipeline is at work" in other.steps["ImportExampleGen"].log
    assert schedule.record(schedule.fire())["data"]["span"] == 2


def test_a_run_that_was_ended_hard_frees_its_span_once_its_workflow_is_gone(schedule):
    schedule.arrive(1), schedule.arrive(2)
    ended = schedule.fire_and_end("Pusher")
    schedule.kubernetes.has("workflows", ended, "Running")
    assert found_nothing(schedule.fire()) and schedule.claimed

    schedule.kubernetes.objects["workflows"].clear()  # terminated, then removed by its time to live
    after = schedule.fire()
    assert after.state == SUCCEEDED and schedule.record(after)["data"]["span"] == 1, after.log()
    assert f"run {ended} is over and had no record: failed" in after.steps["ImportExampleGen"].log
    record = json.loads((schedule.root / "runs" / ended / "run.json").read_text())
    assert (record["state"], record["error"], record["data"]["span"]) == ("failed", ENDED, 1)
    assert schedule.told == [("failed", 1)] and schedule.tries == [[1, "decide"]]
    assert schedule.record(schedule.fire())["data"]["span"] == 2


def test_where_the_api_server_refuses_a_span_is_held_and_the_log_says_so(schedule):
    schedule.arrive(1)
    schedule.fire_and_end("Pusher")
    schedule.kubernetes.allowed.clear()
    other = schedule.fire()
    assert found_nothing(other) and schedule.tries == []
    assert "whether a run has ended is told by time alone" in other.steps["ImportExampleGen"].log
