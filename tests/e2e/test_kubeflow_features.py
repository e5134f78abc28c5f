"""What TFX can do, on Kubeflow: small pipelines, each compiled, then run as Kubeflow runs them, MLMD on a server."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import tensorflow as tf
import yaml
from ml_metadata.proto import metadata_store_pb2
from tfx.components.example_gen.import_example_gen.component import ImportExampleGen
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.experimental.conditionals.conditional import Cond
from tfx.dsl.input_resolution.strategies.latest_artifact_strategy import LatestArtifactStrategy
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.metadata import Metadata
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import example_gen_pb2
from tfx.types import standard_artifacts
from tfx.types.channel import Channel

from components.common import mlmd
from pipeline.runners.beam.flags import IN_PROCESS
from pipeline.runners.kubeflow.compile import compile_graph
from pipeline.runners.kubeflow.config import DEFAULT, KubeflowConfig, StepConfig
from pipeline.runners.kubeflow.shared import told_of
from pipeline.runners.nodes import compiled
from pipeline.spans import NEWEST, SPAN
from tests.e2e import kubeflow_nodes as nodes
from tests.e2e.conftest import PROJECT
from tests.e2e.metadata_servers import SECRET, SECRET_NAME, Stores, stores
from tests.pipeline.runners.kubeflow.cluster import FAILED, SUCCEEDED, Cluster, Refused, Run

pytestmark = pytest.mark.cluster


@dataclass(kw_only=True)
class Bench:
    """Compiles a test's pipelines and runs them. folder: of the test; place: of MLMD."""

    folder: Path
    place: str

    @property
    def file(self) -> str:
        """Where nodes say that they ran."""
        return str(self.folder / "trace")

    @property
    def traced(self) -> list[list]:
        return nodes.traced(Path(self.file))

    def compile(
        self, name: str, *parts: BaseNode, cache: bool = True, retries: int = 0, root: str = "artifacts"
    ) -> Path:
        pipeline = Pipeline(
            pipeline_name=name,
            pipeline_root=str(self.folder / root),
            components=list(parts),
            enable_cache=cache,
            beam_pipeline_args=list(IN_PROCESS),
        )
        cluster = KubeflowConfig(
            source=str(PROJECT),
            root=str(self.folder),
            metadata=self.place,
            steps={DEFAULT: StepConfig(retries=retries)},
        )
        file = self.folder / f"{name}-{len(parts)}.yaml"
        compile_graph(compiled(pipeline), cluster, file)
        return file

    def cluster(self, **settings) -> Cluster:
        return Cluster(folder=self.folder / "steps", **{"secrets": {SECRET_NAME: SECRET}, **settings})

    def run(self, file: Path, **parameters) -> Run:
        """Runs to the end, which must be a good one."""
        run = self.cluster().run(file, **parameters)
        assert run.state == SUCCEEDED, run.log()
        return run

    def states(self, run: Run) -> dict[str, str]:
        """What MLMD says of a run's nodes."""
        return {row["id"]: row["state"] for row in told_of(mlmd.connection(self.place), run.id).nodes}

    def made(self, run: Run, kind: str) -> list[metadata_store_pb2.Artifact]:
        """The artifacts of a type that a run made or used."""
        with Metadata(mlmd.connection(self.place)) as handle:
            context = handle.store.get_context_by_type_and_name("pipeline_run", run.id)
            return [a for a in handle.store.get_artifacts_by_context(context.id) if a.type == kind]


@pytest.fixture(scope="module")
def server() -> Iterator[Stores]:
    with stores() as running, pytest.MonkeyPatch.context() as patch:
        running.fresh("mlmd")
        patch.setenv(mlmd.USER, SECRET["username"])
        patch.setenv(mlmd.PASSWORD, SECRET["password"])
        yield running


@pytest.fixture
def bench(tmp_path, server) -> Bench:
    return Bench(folder=tmp_path, place=server.place("mlmd"))


def maker(bench: Bench) -> BaseNode:
    """A node that makes a tally of the runtime parameter `value`."""
    return nodes.maker(value=RuntimeParameter(name="value", ptype=int, default=1), file=bench.file)


def said(run: Run, step: str) -> str:
    """The one line with which a step failed."""
    assert run.state == FAILED and set(run.steps[step].tries) == {2}, run.log()
    return only_line(run.steps[step].log)


def only_line(log: str) -> str:
    assert "Traceback" not in log, log
    (line,) = (line for line in log.splitlines() if line.startswith("lockgate:"))
    return line


def test_a_resolver_finds_the_newest_artifact_of_earlier_runs(bench):
    making = bench.compile("resolver", maker(bench))
    latest = Resolver(strategy_class=LatestArtifactStrategy, tally=Channel(type=nodes.Tally)).with_id("Latest")
    reading = bench.compile("resolver", latest, nodes.reader(tally=latest.outputs["tally"], file=bench.file))
    for value in (5, 7):
        bench.run(making, value=value)
    bench.run(reading)
    assert [row for row in bench.traced if row[0] == "reader"] == [["reader", [7, 3.5, "of 7", 14]]]


def test_a_condition_skips_its_node_and_those_after_it_run(bench):
    gate = nodes.gate(go=RuntimeParameter(name="go", ptype=int, default=0))
    with Cond(gate.outputs["open"].future()[0].value == 1):
        inside = nodes.maker(value=3, file=bench.file)
    after = nodes.reader(tally=inside.outputs["tally"], file=bench.file)
    file = bench.compile("condition", gate, inside, after, cache=False)

    skipped = bench.run(file)
    assert bench.traced == [["reader", None]]
    assert bench.states(skipped) == {"gate": "ran", "reader": "ran"}
    assert "maker is skipped by its condition" in skipped.steps["maker"].log

    taken = bench.run(file, go=1)
    assert bench.traced[1:] == [["maker", 3], ["reader", [3, 1.5, "of 3", 6]]]
    assert bench.states(taken) == {"gate": "ran", "maker": "ran", "reader": "ran"}


def test_the_driver_finds_the_newest_span_or_takes_the_one_that_is_asked_for(bench):
    def arrives(span: int) -> None:
        folder = bench.folder / "data" / f"span-{span}"
        folder.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(folder / "rows.tfrecord")) as written:
            written.write(tf.train.Example().SerializeToString())

    def span_of(run: Run) -> int:
        (examples,) = bench.made(run, "Examples")
        return examples.custom_properties["span"].int_value

    split = example_gen_pb2.Input.Split(name="all", pattern="span-{SPAN}/*.tfrecord")
    generator = ImportExampleGen(
        input_base=str(bench.folder / "data"),
        input_config=example_gen_pb2.Input(splits=[split]),
        range_config=RuntimeParameter(name=SPAN, ptype=str, default=NEWEST),
    )
    file = bench.compile("spans", generator)
    arrives(1), arrives(2)
    assert span_of(bench.run(file)) == 2
    assert span_of(bench.run(file, span="1")) == 1
    arrives(3)
    assert span_of(bench.run(file)) == 3


def test_what_ran_before_comes_from_the_cache(bench):
    made = maker(bench)
    file = bench.compile("cache", made, nodes.reader(tally=made.outputs["tally"], file=bench.file))
    assert set(bench.states(bench.run(file)).values()) == {"ran"} and len(bench.traced) == 2
    assert bench.states(bench.run(file)) == {"maker": "cached", "reader": "cached"} and len(bench.traced) == 2
    assert set(bench.states(bench.run(file, value=2)).values()) == {"ran"} and len(bench.traced) == 4


def test_an_artifact_of_ones_own_type_keeps_its_properties(bench):
    made = nodes.maker(value=9, file=bench.file)
    file = bench.compile("types", made, nodes.reader(tally=made.outputs["tally"], file=bench.file))
    (tally,) = bench.made(bench.run(file), nodes.Tally.TYPE_NAME)
    kept = tally.properties
    assert (kept["total"].int_value, kept["mean"].double_value, kept["label"].string_value) == (9, 4.5, "of 9")
    assert bench.traced == [["maker", 9], ["reader", [9, 4.5, "of 9", 18]]]


def test_a_run_may_set_parameters_of_each_type(bench):
    asked = {"text": (str, "as it is"), "count": (int, 3), "rate": (float, 0.5)}
    given = {name: RuntimeParameter(name=name, ptype=kind, default=value) for name, (kind, value) in asked.items()}
    file = bench.compile("parameters", nodes.printer(file=bench.file, **given))
    bench.run(file)
    odd = "--run={'x': 1} = \"ü\" $HOME"
    bench.run(file, text=odd, count=-7, rate=-1e-05)
    assert bench.traced == [["printer", ["as it is", 3, 0.5]], ["printer", [odd, -7, -1e-05]]]
    line = said(bench.cluster().run(file, count=2.5), "printer")  # to Kubeflow, a number is a number
    assert "a runtime parameter must be" in line and "count='2.5'" in line
    for wrong in ({"count": "many"}, {"rate": "fast"}):
        with pytest.raises(Refused, match="requires type NUMBER"):
            bench.cluster().run(file, **wrong)
    assert len(bench.traced) == 2


def test_training_goes_on_from_the_newest_blessed_model(bench):
    newest = Resolver(
        strategy_class=LatestBlessedModelStrategy,
        model=Channel(type=standard_artifacts.Model),
        model_blessing=Channel(type=standard_artifacts.ModelBlessing),
    ).with_id("Newest")
    trainer = nodes.trainer(before=newest.outputs["model"], file=bench.file)
    blessed = RuntimeParameter(name="blessed", ptype=int, default=1)
    file = bench.compile(
        "warm", newest, trainer, nodes.blesser(model=trainer.outputs["model"], blessed=blessed), cache=False
    )
    bench.run(file)
    bench.run(file, blessed=0)
    bench.run(file)  # from the first again, since nobody blessed the second
    bench.run(file)
    assert bench.traced == [["trainer", value] for value in (1, 2, 2, 3)]


def test_steps_are_tried_again_when_mlmd_went_away(bench, server):
    until, tries = bench.folder / "until", []
    slow = nodes.waiter(until=str(until), file=bench.file)
    reader = nodes.reader(tally=slow.outputs["tally"], file=bench.file)
    file = bench.compile("restart", slow, reader, retries=2)

    def stop() -> None:
        while not bench.traced:
            time.sleep(0.1)
        server.server.stop()
        until.touch()

    def started(name, process) -> None:
        tries.append(name)
        if tries == ["waiter"]:
            threading.Thread(target=stop).start()
        if tries == ["waiter"] * 3:
            server.server.start()

    run = bench.cluster(started=started).run(file)
    assert run.state == SUCCEEDED, run.log()
    assert [run.steps[name].tries for name in ("waiter", "reader")] == [[2, 2, 0], [0]], run.log()
    assert run.steps["waiter"].log.count("lockgate: MLMD at ") == 2
    assert bench.states(run) == {"waiter": "ran", "reader": "ran"}


def test_two_runs_of_a_pipeline_at_once(tmp_path, server):
    place = server.fresh("at_once")  # where MLMD has no tables yet, which both runs want to make
    bench, runs = Bench(folder=tmp_path, place=place), []
    file = bench.compile("at-once", maker(bench), retries=2)
    threads = [threading.Thread(target=lambda v=v: runs.append(bench.cluster().run(file, value=v))) for v in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.state for run in runs] == [SUCCEEDED, SUCCEEDED], "\n".join(run.log() for run in runs)
    assert [bench.states(run) for run in runs] == [{"maker": "ran"}] * 2
    assert sorted(a.properties["total"].int_value for run in runs for a in bench.made(run, "LockgateTally")) == [1, 2]


def test_a_secret_that_is_missing_is_said_before_the_step_and_by_it(bench):
    file = bench.compile("secret", maker(bench))
    run = bench.cluster(secrets={SECRET_NAME: {"username": "pipeline"}}).run(file)
    assert run.state == FAILED and run.steps["maker"].tries == []
    assert run.steps["maker"].log == f"CreateContainerConfigError: no key password in secret {SECRET_NAME}"

    (executor,) = next(yaml.safe_load_all(file.read_text()))["deploymentSpec"]["executors"].values()
    (_, script), filled = executor["container"]["command"], executor["container"]["args"]
    for name, value in {"run": "r", "node": "maker", "value": "1"}.items():
        filled = [a.replace("{{$.inputs.parameters['" + name + "']}}", value) for a in filled]
    done = subprocess.run([sys.executable, script, *filled], env={}, cwd=bench.folder, capture_output=True, text=True)
    assert done.returncode == 2 and f"must be in the environment's {mlmd.USER}" in only_line(done.stdout + done.stderr)


def test_a_root_that_cannot_be_written_is_one_line(bench):
    (bench.folder / "blocked").touch()
    line = said(bench.cluster().run(bench.compile("root", maker(bench), root="blocked/artifacts")), "maker")
    assert "must be a folder that can be written" in line and f"{bench.folder}/blocked" in line
    assert bench.traced == []
