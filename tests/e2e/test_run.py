"""The real pipeline through the real command line: what a run prints, pushes, refuses and takes from the cache."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.conftest import command, environment, kept, lockgate, run_tiny, temporary

RECIPES = {"int8", "prune+int8", "cluster+int8", "prune+cluster+int8"}


def test_a_model_is_pushed_and_is_the_file_that_was_judged(finished):
    _, record = finished
    pushed = record["pushed"]
    assert hashlib.sha256(Path(pushed["path"]).read_bytes()).hexdigest() == pushed["sha256"]
    assert 0 < record["epsilon"] <= 3 and record["delta"] == 1e-5
    assert {v["recipe"] for v in record["variants"]} == RECIPES
    chosen = next(v for v in record["variants"] if v["recipe"] == pushed["recipe"])
    assert chosen["verdict"] == "pass"
    assert chosen["bytes"] == Path(pushed["path"]).stat().st_size
    assert Path(record["report"]).stat().st_size > 1000


def test_nothing_stays_in_the_temporary_folder(finished):
    root, _ = finished
    assert list(temporary(root).iterdir()) == []


def test_the_pushed_file_answers_in_a_process_that_has_nothing_of_ours(finished, tmp_path):
    program = (
        "import sys, numpy as np, tensorflow as tf\n"
        "i = tf.lite.Interpreter(sys.argv[1]); i.allocate_tensors()\n"
        "i.set_tensor(i.get_input_details()[0]['index'], np.zeros((1, 28, 28, 1), np.int8)); i.invoke()\n"
        "print(i.get_tensor(i.get_output_details()[0]['index']).tolist())\n"
    )
    path = finished[1]["pushed"]["path"]
    done = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    scores = np.array(json.loads(done.stdout.splitlines()[-1]))
    assert scores.shape == (1, 10) and len(np.unique(scores)) > 1


def test_a_second_run_comes_from_the_cache_and_pushes_nothing_new(finished):
    root, first = finished
    before = kept(root)
    code, again = run_tiny(root)
    assert code == 0
    always = {"Baseline", "Served", "Lineage", "PrivacyAuditor", "Pusher"}
    assert {n["id"] for n in again["nodes"] if n["state"] == "ran"} <= always
    assert len(again["nodes"]) == len(first["nodes"]) > 20
    assert again["pushed"] == first["pushed"]
    assert again["epsilon"] == first["epsilon"]
    assert kept(root) == before


@pytest.mark.parametrize("setting", ["gates.min_accuracy=0.999", "gates.max_bytes=1"])
def test_a_gate_that_cannot_be_met_refuses(finished, setting):
    root, _ = finished
    before = kept(root)
    code, refused = run_tiny(root, setting)
    assert code == 3
    assert refused["pushed"] is None
    assert {v["recipe"] for v in refused["variants"]} == RECIPES
    assert all(v["verdict"] == "fail" and v["reasons"] for v in refused["variants"])
    assert kept(root) == before


def test_a_budget_that_is_spent_refuses_before_anything_private_is_read(finished):
    root, _ = finished
    before = kept(root)
    code, refused = run_tiny(root, "privacy.budget_epsilon=3.0", "trainer.learning_rate=0.4")
    assert code == 3 and refused["pushed"] is None
    assert "budget of span fashion-mnist/span-1" in refused["error"]
    assert kept(root) == before


def test_the_terminal_shows_nodes_table_decision_and_places_and_nothing_else(finished):
    root, _ = finished
    done = lockgate("run", "--config", "tiny", root=root)
    assert done.returncode == 0 and done.stderr == ""
    assert max(len(line) for line in done.stdout.splitlines() if "/" not in line) <= 100
    nodes = re.findall(r"^[✓=✗] (\S+)\s+(?:cached|[\d.]+ s)$", done.stdout, re.M)
    assert nodes[0] == "ImportExampleGen" and nodes[-1] == "Pusher"
    rest = re.sub(r"^[✓=✗] .*\n", "", done.stdout, flags=re.M).split("\n\n")
    assert rest[0].startswith("\nvariant") and rest[-1].startswith("Pushed ")
    assert [line.split()[0] for line in rest[-1].splitlines()[1:]] == ["model", "report", "log", "root"]


def test_reading_a_run_prints_nothing_but_the_answer(finished):
    root, first = finished
    done = lockgate("report", first["run"], "--json", root=root)
    assert done.returncode == 0 and done.stderr == ""
    assert json.loads(done.stdout) == first


def test_the_list_of_runs_names_every_run(finished):
    root, first = finished
    listed = json.loads(lockgate("runs", "--json", root=root).stdout)
    assert [r["run"] for r in listed] == sorted(p.name for p in (root / "runs").iterdir())
    assert first["run"] in lockgate("runs", root=root).stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "--config", "nowhere.toml"), "`--config` must be a preset"),
        (("run", "--set", "data.root=/nowhere"), "`data.root` must be a folder"),
        (("run", "--set", "data.roles.holdout=nothing-{SPAN}/*"), "role `holdout` must have files"),
        (("run", "--set", "data.schema=/nowhere.pbtxt"), "`data.schema` must be a TFMD schema"),
        (("run", "--set", "data.span=7"), "span 7"),
        (("report", "no-such-run"), "a run must be one of those"),
        (("report", "--html", "/nowhere/r.html"), "a run must be one of those"),
        (("run", "--nonsense"), "No such option"),
    ],
)
def test_a_slip_is_one_line_and_exit_2_before_anything_starts(tmp_path, arguments, says):
    done = lockgate(*arguments, root=tmp_path / "root")
    assert done.returncode == 2
    assert says in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "root").exists()


def test_a_damaged_record_is_one_line_that_names_it(tmp_path):
    (tmp_path / "runs" / "20260101-000000-abcd").mkdir(parents=True)
    (tmp_path / "runs" / "20260101-000000-abcd" / "run.json").write_text('{"run": "2026')
    for reading in ("runs", "report"):
        done = lockgate(reading, root=tmp_path)
        assert done.returncode == 2
        assert "20260101-000000-abcd" in done.stderr and done.stderr.count("\n") == 1


def test_a_root_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    done = lockgate("run", "--config", "tiny", root=tmp_path / "file" / "root")
    assert done.returncode == 2
    assert "`--root` must be a folder that can be written" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [("--help",), ("show-config",), ("runs",)])
def test_what_needs_no_tensorflow_imports_none(tmp_path, arguments):
    program = (
        "import sys; sys.argv[0] = 'lockgate'\n"
        "from pipeline.cli import main\n"
        "try: main()\n"
        "finally: assert not {'tensorflow', 'tfx', 'apache_beam'} & set(sys.modules), 'imported'\n"
    )
    root = ["--root", str(tmp_path)] if arguments == ("runs",) else []
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments, *root], capture_output=True, text=True, env=environment(), cwd="/"
    )
    assert done.returncode == 0 and done.stdout and not done.stderr


def test_two_runs_at_once_on_one_root_are_one_run_and_one_line(tmp_path):
    first = subprocess.Popen(
        command("run", "--config", "tiny", root=tmp_path), stdout=subprocess.PIPE, text=True, env=environment(), cwd="/"
    )
    try:
        assert "ImportExampleGen" in first.stdout.readline()  # it holds the root now
        second = lockgate("run", "--config", "tiny", root=tmp_path)
        assert second.returncode == 2
        assert "Another is running" in second.stderr and second.stderr.count("\n") == 1
        assert "Pushed" in first.communicate(timeout=300)[0]
    finally:
        first.kill()
    assert first.returncode == 0
