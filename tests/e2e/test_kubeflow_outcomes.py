"""The ways in which a run on Kubeflow ends, by a driver that was written from KFP's sources and shares no code with the
other stand-in: pushed, from the cache, refused by a gate, with nothing due, and killed in training and tried again."""

import contextlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.database_servers import Server, mariadb, postgresql
from components.privacy.entries import RESERVE, SETTLE, Entry
from components.privacy.ledger import Ledger
from pipeline.config import load
from tests.conftest import skip_without
from tests.e2e.conftest import PROJECT
from tests.e2e.kfp_driver.controller import SKIPPED, SUCCEEDED, Kubeflow, Workflow, nothing
from tests.e2e.kfp_driver.pod import Namespace, kill

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2400)]
USER, PASSWORD = "pipeline", "k9-Sesame-open"
STEPS = 600  # of the training that is killed: long enough to be saved before it ends
PROGRESS = re.compile(r"step (\d+) of (\d+)")


@dataclass(frozen=True, kw_only=True)
class Database:
    """What holds MLMD. scheme: of its address. user, owner: statements that make the pipeline's user, and give it a
    database. ledger: whether the ledger is there too, and not on the volume."""

    start: Callable[[], contextlib.AbstractContextManager[Server]]
    scheme: str
    user: str
    owner: str
    ledger: bool


DATABASES = {
    "postgresql": Database(
        start=postgresql,
        scheme="postgresql",
        user=f"CREATE USER {USER} PASSWORD '{PASSWORD}'",
        owner=f"ALTER DATABASE {{name}} OWNER TO {USER}",
        ledger=True,
    ),
    "mariadb": Database(
        start=mariadb,
        scheme="mysql",
        user=f"CREATE USER {USER} IDENTIFIED BY '{PASSWORD}'",
        owner=f"GRANT ALL ON {{name}}.* TO {USER}",
        ledger=False,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A cluster whose volume, MLMD and ledger all runs share. settings: where these are. ledger: as a test reads it."""

    folder: Path
    settings: tuple[str, ...]
    ledger: str

    @property
    def root(self) -> Path:
        return self.folder / "volume"

    def run(
        self, outcome: str, *settings: str, started: Callable = nothing, given: dict[str, str] | None = None
    ) -> Workflow:
        """Compiles the tiny preset and runs it. given: the run's parameters."""
        from pipeline.runners.kubeflow.compile import compile_config

        own = (f"kubeflow.source={PROJECT}", f"kubeflow.root={self.root}", "kubeflow.metadata_secret=mlmd")
        file = self.folder / f"{outcome}.yaml"
        compile_config(load("tiny", [*own, *self.settings, *settings]), file)
        secrets = {"mlmd": {"username": USER, "password": PASSWORD}}
        namespace = Namespace(image=image(), secrets=secrets, claims={"lockgate": self.root})
        run = Kubeflow(folder=self.folder / outcome, namespace=namespace, started=started).run(file, given)
        tries = {name: [end.code for end in run.tries_of(name)] for name in run.started()}
        again = {name: codes for name, codes in tries.items() if codes != [0]}
        print(f"\n{outcome}: {run.phase} in {run.seconds:.0f} s, {len(tries)} steps, tried again or failed: {again}")
        return run

    def record(self, run: Workflow) -> dict:
        return json.loads((self.root / "runs" / run.run.id / "run.json").read_text())

    def entries(self) -> list[Entry]:
        return Ledger(self.ledger).export()


def image() -> dict[str, str]:
    """The environment that the Dockerfile gives every step, with this interpreter in the place of the image's."""
    lines = (PROJECT / "kubeflow" / "Dockerfile").read_text().splitlines()
    (last,) = [line for line in lines if line.startswith("ENV HOME=")]
    environment = dict(pair.split("=", 1) for pair in last.removeprefix("ENV ").split())
    return {**environment, "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"}


def furnished(folder: Path, database: Database, server: Server) -> Bench:
    address = server.url.split("@")[1].split("/")[0]
    settings, ledger = (f"kubeflow.metadata={database.scheme}://{address}/mlmd",), folder / "volume" / "ledger.sqlite"
    if not database.ledger:
        return Bench(folder=folder, settings=settings, ledger=str(ledger))
    ledger = f"{database.scheme}://{USER}@{address}/charges"
    settings += (f"kubeflow.ledger={ledger}", "kubeflow.ledger_secret=mlmd")
    return Bench(folder=folder, settings=settings, ledger=server.url.rsplit("/", 1)[0] + "/charges")


@pytest.fixture(scope="module", params=DATABASES)
def bench(request, tmp_path_factory) -> Iterator[Bench]:
    database, folder = DATABASES[request.param], tmp_path_factory.mktemp("outcomes")
    try:
        with database.start() as server:
            server.execute(database.user)
            for name in ("mlmd", "charges"):
                server.fresh(name)
                server.execute(database.owner.format(name=name))
            (folder / "volume").mkdir()
            yield furnished(folder, database, server)
    except FileNotFoundError as missing:
        skip_without(f"Debian's package {missing}")


@pytest.fixture(scope="module")
def pushed(bench) -> Workflow:
    """A first run."""
    return bench.run("pushed")


def count(journal: Path) -> int:
    """How many steps of a training were begun."""
    return int.from_bytes((journal / "executed").read_bytes(), "little")


def cached(record: dict) -> set[str]:
    return {row["id"] for row in record["nodes"] if row["state"] == "cached"}


def test_a_first_run_ends_well_and_pushes(bench, pushed):
    assert pushed.phase == SUCCEEDED, pushed.explained()
    record = bench.record(pushed)
    assert (record["state"], record["exit_code"]) == ("pushed", 0)
    assert pushed.phase_of("pushed") == SUCCEEDED and "idle" not in pushed.started()
    assert pushed.phase_of("report") == SUCCEEDED and all(len(tries) == 1 for tries in pushed.tries.values())
    assert [entry.kind for entry in bench.entries()] == [RESERVE, SETTLE]
    (report,) = pushed.tries_of("report")
    assert report.metadata["metrics"]["pushed"] == 1
    assert report.artifacts["page"].read_text().startswith("<!doctype html>")
    assert all(f"| {v['recipe']} |" in report.artifacts["variants"].read_text() for v in record["variants"])


def test_a_second_run_comes_from_the_cache_and_charges_nothing(bench, pushed):
    before = bench.entries()
    run = bench.run("again")
    assert run.phase == SUCCEEDED, run.explained()
    record, first = bench.record(run), bench.record(pushed)
    print(f"again: {len(cached(record))} of {len(record['nodes'])} nodes cached")
    assert record["state"] == "pushed" and bench.entries() == before and cached(first) == set()
    anew = {row["id"] for row in record["nodes"]} - cached(record)
    assert len(cached(record)) >= 20 and {"DPTrainer", "ImportExampleGen", "HoldoutScorer"} <= cached(record)
    assert {"PrivacyAuditor", "Pusher"} <= anew


def test_a_gate_that_none_can_pass_refuses_and_the_run_ends_well(bench, pushed):
    before, serving = bench.entries(), sorted(p.name for p in bench.root.glob("serving/*/*"))
    run = bench.run("refused", "gates.max_bytes=1")
    assert run.phase == SUCCEEDED, run.explained()
    record = bench.record(run)
    assert (record["state"], record["exit_code"]) == ("refused", 3)
    assert "pushed" not in run.started() and run.phase_of("report") == SUCCEEDED
    assert {variant["verdict"] for variant in record["variants"]} == {"fail"}
    assert run.tries_of("report")[0].metadata["metrics"]["pushed"] == 0
    assert bench.entries() == before and sorted(p.name for p in bench.root.glob("serving/*/*")) == serving


def test_where_nothing_is_due_one_pod_is_started_and_the_run_ends_well(bench):
    (bench.folder / "empty").mkdir()
    run = bench.run("idle", f"data.root={bench.folder / 'empty'}", given={"span": "due"})
    assert run.phase == SUCCEEDED, run.explained()
    assert run.started() == ["importexamplegen"] and run.phase_of("exit-handler-1") == SKIPPED
    assert len(run.tries_of("importexamplegen")) == 1


def test_a_training_that_is_killed_is_tried_again_and_goes_on_under_the_charge_it_has(bench, pushed):
    before, journals = bench.entries(), {*bench.root.glob("journals/*/")}
    executed = {}

    def kill_once_saved(name, index, process):
        """Kills the training once its journal holds a state, and a fifth of the steps is done."""
        while name == "dptrainer" and index == 0 and process.poll() is None:
            for folder in {*bench.root.glob("journals/*/")} - journals:
                if (folder / "state.npz").exists() and count(folder) >= STEPS // 5:
                    kill(process)
                    process.wait()
                    executed[folder] = count(folder)
                    return
            time.sleep(0.01)

    settings = (f"trainer.steps={STEPS}", "trainer.checkpoint_seconds=0.5", "trainer.learning_rate=0.1")
    run = bench.run("killed", *settings, started=kill_once_saved)
    assert run.phase == SUCCEEDED, run.explained()
    assert [end.code for end in run.tries_of("dptrainer")] == [-9, 0]
    assert all(len(tries) == 1 for path, tries in run.tries.items() if path != run.path("dptrainer"))
    ((journal, lost),) = executed.items()
    told = [int(step) for step, _ in PROGRESS.findall(run.tries_of("dptrainer")[1].log.read_text())]
    print(f"killed: after step {lost} of {STEPS}; the second try told of step {told[0]} first")
    assert STEPS // 5 <= lost < STEPS and lost < told[0] <= lost + 1 + STEPS // 20
    assert count(journal) == STEPS  # none of them twice
    charges = bench.entries()[len(before) :]
    assert [entry.kind for entry in charges] == [RESERVE, SETTLE]
    assert charges[1].says()["executed"] == STEPS and bench.record(run)["state"] in ("pushed", "refused")
