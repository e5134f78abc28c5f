"""What running on Kubeflow costs: a step in units of `import tensorflow`, and the whole run against a local one.

Both are run as Kubeflow Pipelines would run them, by the tests' harness: every step a process of its own, with nothing
but what the compiled file sets, MLMD in a PostgreSQL. A step that comes from TFX's cache has no work of its own, so all
that it takes is overhead; every node of the graph but the two that are never cached is measured so, one at a time, in
turns with a bare `import tensorflow`.

Command: `python -m benchmarks.kubeflow_steps`; `--only overhead` or `--only run` measures one of the two.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.database_servers import postgresql
from benchmarks.dp_accuracy import tell
from pipeline.config import load
from pipeline.runners.kubeflow.compile import compile_config
from pipeline.runners.nodes import UNCACHED
from tests.pipeline.runners.kubeflow.cluster import SUCCEEDED, Cluster, Run

PROJECT = Path(__file__).parent.parent
BASELINE = Path(__file__).parent / "baselines" / "kubeflow_steps.json"
_SECRET = {"username": "pipeline", "password": "benchmark"}
_NO_NODE = ("Report", "report", "pushed")


@contextmanager
def place(folder: Path) -> Iterator[str]:
    """Where MLMD is: a PostgreSQL of its own."""
    with postgresql() as server:
        server.execute(f"CREATE USER {_SECRET['username']} PASSWORD '{_SECRET['password']}'")
        server.fresh("mlmd")
        server.execute(f"ALTER DATABASE mlmd OWNER TO {_SECRET['username']}")
        yield f"postgresql://{server.url.split('@')[1].split('/')[0]}/mlmd"


def ran(config: str, folder: Path, metadata: str, parallel: int) -> tuple[Run, float]:
    """A run of a preset through the harness, and the seconds that it took."""
    root = folder / "root"
    root.mkdir(exist_ok=True)
    mounts = (f"kubeflow.source={PROJECT}", f"kubeflow.root={root}", f"kubeflow.metadata={metadata}")
    compile_config(load(config, list(mounts)), folder / "compiled.yaml")
    begun = time.monotonic()
    run = Cluster(folder=folder / "steps", secrets={"lockgate-postgres": _SECRET}, parallel=parallel).run(
        folder / "compiled.yaml"
    )
    if run.state != SUCCEEDED:
        raise SystemExit(run.log())
    return run, time.monotonic() - begun


def import_tensorflow() -> float:
    """Seconds of a process that imports TensorFlow and ends."""
    begun = time.monotonic()
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1"}
    subprocess.run([sys.executable, "-c", "import tensorflow"], check=True, capture_output=True, env=environment)
    return time.monotonic() - begun


def overhead(rounds: int) -> dict:
    """The overhead of every node's step, in units of `import tensorflow`: medians over the rounds."""
    with tempfile.TemporaryDirectory() as name, place(Path(name)) as metadata:
        ran("tiny", Path(name), metadata, parallel=2)
        tell("first run: everything is in the cache now")
        steps: dict[str, list[float]] = {}
        imports = [import_tensorflow()]
        for i in range(rounds):
            run, _ = ran("tiny", Path(name), metadata, parallel=1)
            imports += [import_tensorflow() for _ in range(3)]
            for step in run.steps.values():
                if step.name not in (*UNCACHED, *_NO_NODE):
                    steps.setdefault(step.name, []).append(step.ended - step.begun)
            tell(f"round {i + 1}: import tensorflow {statistics.median(imports):.2f} s")
    unit = statistics.median(imports)
    ratios = {name: round(statistics.median(taken) / unit, 2) for name, taken in sorted(steps.items())}
    worst = max(ratios, key=ratios.get)
    return {
        "import_tensorflow": round(unit, 2),
        "overhead": ratios,
        "worst": worst,
        "largest": ratios[worst],
        "median": statistics.median(ratios.values()),
    }


def whole_run() -> dict:
    """The default preset through the harness, two steps at a time, against `lockgate run`."""
    with tempfile.TemporaryDirectory() as name, place(Path(name)) as metadata:
        begun = time.monotonic()
        command = [sys.executable, "-m", "pipeline.cli", "run", "--json", "--root", str(Path(name, "local"))]
        subprocess.run(command, check=True, capture_output=True, cwd=PROJECT)
        local = time.monotonic() - begun
        tell(f"local: {local:.0f} s")
        _, there = ran("default", Path(name), metadata, parallel=2)
        tell(f"harness: {there:.0f} s")
    return {"local_seconds": round(local), "seconds": round(there), "slower": round(there / local, 2)}


def missed_bounds(found: dict, bounds: dict[str, float]) -> list[str]:
    """Which figures are above their bound."""
    figures = {"overhead": found.get("overhead", {}).get("largest"), "run": found.get("run", {}).get("slower")}
    return [name for name, figure in figures.items() if figure is not None and figure > bounds[name]]


def main() -> int:
    """Measures, prints, compares with the bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("overhead", "run"))
    parser.add_argument("--rounds", type=int, default=3)
    asked, found = parser.parse_args(), {}
    if asked.only != "run":
        found["overhead"] = overhead(asked.rounds)
    if asked.only != "overhead":
        found["run"] = whole_run()
    missed = missed_bounds(found, json.loads(BASELINE.read_text())["bounds"])
    print(json.dumps({**found, "missed": missed}, indent=1))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
