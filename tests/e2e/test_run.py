"""The real pipeline through the real command line."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def lockgate(*arguments: str, root: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pipeline.cli", *arguments, "--root", str(root)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def first(root):
    done = lockgate("run", "--config", "tiny", "--json", root=root)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_a_model_is_pushed_and_is_the_file_that_was_judged(first):
    pushed = first["pushed"]
    assert hashlib.sha256(Path(pushed["path"]).read_bytes()).hexdigest() == pushed["sha256"]
    assert 0 < first["epsilon"] <= 3 and first["delta"] == 1e-5
    assert {v["recipe"] for v in first["variants"]} == {"int8", "prune+int8", "cluster+int8", "prune+cluster+int8"}
    assert next(v for v in first["variants"] if v["recipe"] == pushed["recipe"])["verdict"] == "pass"
    assert Path(first["report"]).stat().st_size > 1000


def test_a_second_run_comes_from_the_cache_and_pushes_nothing_new(first, root):
    done = lockgate("run", "--config", "tiny", "--json", root=root)
    again = json.loads(done.stdout)
    assert done.returncode == 0
    assert [n["id"] for n in again["nodes"] if n["state"] == "ran"] in (["Pusher"], ["Baseline", "Pusher"])
    assert again["pushed"] == first["pushed"]
    assert again["epsilon"] == first["epsilon"]


@pytest.mark.parametrize("setting", ["gates.min_accuracy=0.999", "gates.max_bytes=1"])
def test_a_gate_that_cannot_be_met_refuses(first, root, setting):
    done = lockgate("run", "--config", "tiny", "--json", "--set", setting, root=root)
    refused = json.loads(done.stdout)
    assert done.returncode == 3
    assert refused["pushed"] is None
    assert all(v["verdict"] == "fail" and v["reasons"] for v in refused["variants"])


def test_nothing_but_the_answer_is_printed(first, root):
    done = lockgate("report", "--json", root=root)
    assert done.returncode == 0 and done.stderr == ""
    assert json.loads(done.stdout)["config"] == "tiny"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "--config", "nowhere.toml"), "`--config` must be a preset"),
        (("run", "--set", "data.root=/nowhere"), "`data.root` must be a folder"),
        (("run", "--set", "data.span=7"), "span 7"),
        (("report", "no-such-run"), "a run must be one of those"),
        (("run", "--nonsense"), "No such option"),
    ],
)
def test_a_slip_is_one_line_and_exit_2(tmp_path, arguments, says):
    done = lockgate(*arguments, root=tmp_path / "root")
    assert done.returncode == 2
    assert says in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "root" / "artifacts").exists()
