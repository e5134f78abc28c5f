"""The installed wheel: its own code and data, from a folder that has nothing of the project."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with what the wheel unpacks to, as pip lays it into site-packages."""
    uv = shutil.which("uv") or os.environ.get("UV")
    assert uv, "uv must be on the PATH: pip install uv"
    wheels, site = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    done = subprocess.run([uv, "build", "--wheel", "--out-dir", wheels, PROJECT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    return site


def installed_lockgate(site: Path, *arguments: str) -> subprocess.CompletedProcess:
    program = "import sys; from pipeline.cli import main; sys.argv[0] = 'lockgate'; main()"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment, cwd="/")


def test_it_holds_packages_data_licences_and_the_command(installed):
    names = {p.name for p in installed.iterdir()}
    info = next(name for name in names if name.endswith(".dist-info"))
    assert names - {info} == {"pipeline", "components"}
    assert "lockgate = pipeline.cli:main" in (installed / info / "entry_points.txt").read_text()
    assert {p.name for p in (installed / info / "licenses").rglob("LICENSE*")} == {"LICENSE", "LICENSE-fashion-mnist"}
    embedded = {
        p.relative_to(PROJECT / "data" / "fashion-mnist") for p in PROJECT.glob("data/fashion-mnist/span-1/*/*")
    }
    unpacked = {p.relative_to(installed / "pipeline/data/fashion-mnist") for p in installed.glob("**/*.tfrecord")}
    assert unpacked == embedded and len(embedded) == 30


def test_it_runs_the_pipeline_on_its_own_data(installed, tmp_path):
    shown = installed_lockgate(installed, "show-config", "--config", "tiny")
    assert json.loads(shown.stdout)["data"]["root"].startswith(str(installed))
    done = installed_lockgate(installed, "run", "--config", "tiny", "--json", "--root", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(done.stdout)
    assert record["pushed"] and Path(record["pushed"]["path"]).is_relative_to(tmp_path)
