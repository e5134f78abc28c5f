"""`lockgate kubeflow` against a server that checks every request: what it prints, and what it exits with."""

import collections
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tfx.proto.orchestration import pipeline_pb2

from pipeline.cli import main
from pipeline.config import load
from pipeline.runners.kubeflow.carried import Carried, packed
from pipeline.runners.kubeflow.settings import written
from tests.pipeline.runners.kubeflow.stub import look

PROJECT = Path(__file__).parents[2]
DONE = {"trainer": "SUCCEEDED", "selector": "SUCCEEDED", "report": "SUCCEEDED"}
IDLE = {"exit-handler-1": "SKIPPED"}
TOKEN = "eyJ-the-secret-of-this-test"


@pytest.fixture
def lockgate(server, capsys, monkeypatch):
    """Runs a command in this process; gives the exit code, stdout and stderr."""
    monkeypatch.setenv("LOCKGATE_KFP_HOST", server.address)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["kubeflow", *arguments])
        return (caught.value.code or 0, *capsys.readouterr())

    return run


def as_process(*arguments: str, script: bool = False, **environment: str) -> subprocess.CompletedProcess:
    program = [str(PROJECT / "kubeflow" / "submit.py")] if script else ["-m", "pipeline.cli", "kubeflow"]
    return subprocess.run(
        [sys.executable, *program, *arguments], capture_output=True, text=True, cwd="/", timeout=100,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "COLUMNS": "160", **environment},
    )  # fmt: skip


def test_a_run_is_submitted_with_typed_parameters(lockgate, server, pipeline_file):
    given = ("--param", "root=s3://b/r=1", "--param", "epochs=3", "--param", "dry=true", "--name", "by hand")
    code, out, err = lockgate("run", str(pipeline_file), *given)
    (run,) = server.runs.values()
    assert (code, err) == (0, "")
    assert out == f"Run {run['run_id']} is submitted.\n{server.address}/#/runs/details/{run['run_id']}\n"
    assert run["runtime_config"]["parameters"] == {"root": "s3://b/r=1", "epochs": 3, "dry": True}
    assert run["display_name"] == "by hand"
    assert [e["display_name"] for e in server.experiments.values()] == ["lockgate"]
    code, out, _ = lockgate("run", str(pipeline_file), "--param", "root=/", "--experiment", "other", "--json")
    assert server.runs[json.loads(out)["run"]]["display_name"].startswith("a-pipeline 20")


@pytest.mark.parametrize(
    ("film", "code", "last"),
    [
        (look("SUCCEEDED", **DONE, pushed="SUCCEEDED"), 0, "The run pushed."),
        (look("SUCCEEDED", **DONE), 3, "The run ended well and pushed nothing."),
        (look("SUCCEEDED", reader="SUCCEEDED", **IDLE), 0, "The run found nothing due."),
        (look("SUCCEEDED", trainer="FAILED", report="SUCCEEDED"), 1, "The run failed in trainer."),
        (look("FAILED", error="exit code 2", trainer="FAILED", selector="FAILED"), 2, "failed in trainer, selector."),
        (look("CANCELED", trainer="FAILED"), 130, "The run was cancelled."),
    ],
)
def test_a_run_that_is_waited_for_exits_as_it_ended(lockgate, server, pipeline_file, quick, film, code, last):
    server.film = [look("RUNNING", trainer="RUNNING"), film]
    found, out, err = lockgate("run", str(pipeline_file), "--param", "root=/", "--wait")
    (run_id,) = server.runs
    assert (found, err) == (code, "") and "trainer started\n" in out
    assert out.splitlines()[-2].endswith(last) and out.splitlines()[-1].endswith(run_id)
    found, out, err = lockgate("wait", run_id, "--json")
    assert (found, err, json.loads(out)["exit_code"]) == (code, "", code)


def test_a_schedule_is_made_listed_paused_resumed_and_deleted(lockgate, server, pipeline_file):
    made = ("schedule", str(pipeline_file), "--cron", "0 2 * * *", "--param", "root=/", "--timezone", "Europe/Berlin")
    code, out, err = lockgate(*made)
    assert (code, out) == (2, "") and "--cluster-timezone Europe/Berlin" in err and not server.schedules
    code, out, err = lockgate(*made, "--cluster-timezone", "Europe/Berlin", "--name", "nightly")
    ((made_id, kept),) = server.schedules.items()
    assert (code, err, kept["trigger"]["cron_schedule"]["cron"]) == (0, "", "0 0 2 * * *")
    assert kept["no_catchup"] and kept["description"] == "0 2 * * * Europe/Berlin"
    assert out.splitlines()[0] == f"Schedule nightly ({made_id}) runs at 0 2 * * * Europe/Berlin."

    def row() -> list[str]:
        return lockgate("schedules")[1].splitlines()[1].split()

    assert " ".join(row()) == f"nightly 0 2 * * * Europe/Berlin on no {made_id}"
    assert lockgate("pause", "nightly") == (0, "Schedule nightly is paused.\n", "")
    assert "paused" in row() and json.loads(lockgate("schedules", "--json")[1])[0]["enabled"] is False
    assert lockgate("resume", made_id) == (0, "Schedule nightly is on.\n", "")
    assert "on" in row()
    assert lockgate("delete", "nightly")[0] == 0 and not server.schedules
    assert "No schedules yet" in lockgate("schedules")[1] and lockgate("schedules", "--json")[1] == "[]\n"
    assert lockgate("pause", "nightly")[0] == 2


def test_a_schedule_may_catch_up_and_be_of_a_zone_without_summer_time(lockgate, server, pipeline_file):
    given = ("--cron", "0 2 * * mon", "--timezone", "Asia/Tokyo", "--catch-up", "--json", "--param", "root=/")
    code, out, err = lockgate("schedule", str(pipeline_file), *given)
    (kept,) = server.schedules.values()
    assert (code, err, json.loads(out)["cron"]) == (0, "", "0 0 17 * * 0")
    assert not kept["no_catchup"] and kept["display_name"] == "a-pipeline"


def test_a_schedule_takes_what_is_due_with_catch_up_and_a_run_the_newest(lockgate, server, pipeline_file, tmp_path):
    spec, platform = yaml.safe_load_all(pipeline_file.read_text())
    spec["root"]["inputDefinitions"]["parameters"]["span"] = {"parameterType": "STRING", "defaultValue": "newest"}
    spanned = tmp_path / "spanned.yaml"
    spanned.write_text(yaml.safe_dump_all([spec, platform]))

    def made(*more: str) -> tuple:
        server.schedules.clear()
        code, _, err = lockgate("schedule", str(spanned), "--cron", "0 2 * * *", "--param", "root=/", *more)
        (kept,) = server.schedules.values()
        assert (code, err) == (0, "")
        return kept["runtime_config"]["parameters"]["span"], not kept.get("no_catchup", False)

    assert made() == ("due", True)
    assert made("--no-catch-up") == ("due", False)
    assert made("--param", "span=newest") == ("newest", False)
    assert lockgate("run", str(spanned), "--param", "root=/")[0] == 0
    (run,) = server.runs.values()
    assert run["runtime_config"]["parameters"] == {"root": "/"}


def test_a_span_that_is_none_does_not_reach_the_server(lockgate, server, pipeline_file, tmp_path):
    spec, platform = yaml.safe_load_all(pipeline_file.read_text())
    spec["root"]["inputDefinitions"]["parameters"]["span"] = {"parameterType": "STRING", "defaultValue": "newest"}
    spanned = tmp_path / "spanned.yaml"
    spanned.write_text(yaml.safe_dump_all([spec, platform]))
    for span in ("abc", "-1"):
        code, out, err = lockgate("run", str(spanned), "--param", "root=/", "--param", f"span={span}")
        assert (code, out, server.requests) == (2, "", []) and f"Received: span='{span}'" in err
    for span in ("due", "newest", "3", "2026-11-27"):
        assert lockgate("run", str(spanned), "--param", "root=/", "--param", f"span={span}")[0] == 0


def test_without_a_cron_it_is_the_configurations(lockgate, server, pipeline_file, tmp_path):
    config = load("tiny", ['schedule.cron="30 3 * * mon"', 'schedule.time_zone="Asia/Tokyo"'])
    spec, platform = yaml.safe_load_all(pipeline_file.read_text())
    shared = Carried(graph=pipeline_pb2.Pipeline(), settings=written(config), code="", metadata="")
    spec["deploymentSpec"]["executors"]["exec-reader"]["container"]["args"] = [f"--carries={packed(shared)}"]
    carrier = tmp_path / "carrier.yaml"
    carrier.write_text(yaml.safe_dump_all([spec, platform]))
    assert lockgate("schedule", str(carrier), "--param", "root=/")[0] == 0
    (kept,) = server.schedules.values()
    assert (kept["trigger"]["cron_schedule"]["cron"], kept["description"]) == (
        "0 30 18 * * 0",
        "30 3 * * mon Asia/Tokyo",
    )
    code, _, err = lockgate("schedule", str(pipeline_file), "--param", "root=/")
    assert code == 2 and "`--cron` must be given where a pipeline carries no [schedule]" in err


def test_runs_are_listed_newest_first(lockgate, server, pipeline_file):
    assert "No runs yet" in lockgate("runs")[1]
    for name in ("one", "two", "three"):
        lockgate("run", str(pipeline_file), "--param", "root=/", "--name", name)
    assert [line.split()[1] for line in lockgate("runs", "--last", "2")[1].splitlines()] == ["name", "three", "two"]
    listed = json.loads(lockgate("runs", "--json")[1])
    assert [each["name"] for each in listed] == ["three", "two", "one"]
    assert set(listed[0]) == {"run", "name", "state", "created", "schedule"}


def test_ids_are_whole_however_narrow_the_terminal_is(lockgate, server, pipeline_file, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    name = "a name that is longer than most: retraining of every night"
    lockgate("run", str(pipeline_file), "--param", "root=/", "--name", name)
    lockgate("schedule", str(pipeline_file), "--param", "root=/", "--cron", "0 2 * * *", "--name", name)
    for command, (made_id,) in (("runs", server.runs), ("schedules", server.schedules)):
        _, row = lockgate(command)[1].splitlines()
        assert made_id in row and name in row


def test_a_run_under_way_is_terminated_and_one_that_has_ended_is_not(lockgate, server, pipeline_file):
    server.film = collections.deque([look("RUNNING", trainer="RUNNING")])
    run_id = json.loads(lockgate("run", str(pipeline_file), "--param", "root=/", "--json")[1])["run"]
    assert lockgate("terminate", run_id) == (0, f"Run {run_id} is being terminated.\n", "")
    assert server.requests[-1] == ("POST", f"/apis/v2beta1/runs/{run_id}:terminate")
    code, out, err = lockgate("terminate", run_id)
    assert (code, out) == (2, "")
    assert err == f"lockgate: a run must be under way to be terminated. Received: {run_id}, CANCELING\n"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("run", "FILE"), "Missing: root"),
        (("run", "FILE", "--param", "root"), "must be name=value"),
        (("run", "FILE", "--param", "rot=/"), "with a name of dry, epochs, rate, root. Received: rot"),
        (("run", "FILE", "--param", "root=/", "--param", "epochs=many"), "must be a NUMBER_INTEGER in JSON"),
        (("run", "FILE", "--param", "root=/", "--param", "epochs=true"), "must be a NUMBER_INTEGER in JSON"),
        (("run", "/no/such.yaml"), "No such file"),
        (("run", __file__), "that `lockgate kubeflow compile` wrote"),
        (("runs", "--host", "localhost:8080"), "must begin with http"),
        (("runs", "--host", "http://me:secret@localhost:8080"), "must hold no user"),
        (("runs", "--last", "0"), "--last"),
        (("wait", "no-such-run"), "404 Run no-such-run not found"),
        (("terminate", "no-such-run"), "404 Run no-such-run not found"),
    ],
)
def test_a_slip_is_one_line_and_exit_code_two(lockgate, server, pipeline_file, arguments, part):
    code, out, err = lockgate(*(str(pipeline_file) if a == "FILE" else a for a in arguments))
    assert (code, out) == (2, "") and part in err and len(err.splitlines()) == 1 and "secret" not in err
    assert not server.runs


def test_a_broken_file_is_refused(lockgate, server, tmp_path):
    for number, text in enumerate(("", "a: [", "- 1", "root: {}", "pipelineInfo: {name: x}\nroot: 3")):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text)
        code, _, err = lockgate("run", str(file))
        assert code == 2 and "must be a .yaml file" in err
    old = tmp_path / "new.yaml"
    old.write_text("pipelineInfo: {name: x}\nroot: {}\nunheardOf: 1\n")
    code, _, err = lockgate("run", str(old))
    assert code == 2 and "compiled with the version of kfp" in err and len(err.splitlines()) == 1


def test_a_server_that_is_away_is_one_line_of_a_process(server, pipeline_file):
    server.stop()
    done = as_process("runs", LOCKGATE_KFP_HOST=server.address)
    server.start()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("lockgate: Kubeflow Pipelines must answer") and len(done.stderr.splitlines()) == 1
    done = as_process("runs", LOCKGATE_KFP_HOST="")
    assert done.returncode == 2 and "--host" in done.stderr and len(done.stderr.splitlines()) == 1


def test_the_tokens_value_is_in_no_output(server, pipeline_file):
    server.token = TOKEN
    given = {"LOCKGATE_KFP_HOST": server.address, "LOCKGATE_KFP_TOKEN": TOKEN + "\n"}
    said = []
    for arguments in (
        ("run", str(pipeline_file), "--param", "root=/", "--json"),
        ("schedule", str(pipeline_file), "--cron", "0 2 * * *", "--param", "root=/"),
        ("schedules", "--json"),
    ):
        done = as_process(*arguments, **given)
        assert (done.returncode, done.stderr) == (0, "")
        said += [done.stdout]
    wrong = as_process("runs", **{**given, "LOCKGATE_KFP_TOKEN": TOKEN + "-old"})
    assert wrong.returncode == 2 and "401 Bearer *** is not who may do this" in wrong.stderr
    crooked = as_process("runs", **{**given, "LOCKGATE_KFP_TOKEN": TOKEN + "\nmore"})
    assert crooked.returncode == 2 and "LOCKGATE_KFP_TOKEN must be one line" in crooked.stderr
    helped = as_process("run", "--help", **given)
    assert helped.returncode == 0
    for done in (wrong, crooked, helped):
        said += [done.stdout, done.stderr]
    assert TOKEN not in "".join(said) and TOKEN not in json.dumps([server.runs, server.schedules])


def test_the_script_takes_the_same_commands(server, pipeline_file):
    server.film = collections.deque([look("SUCCEEDED", **DONE)])
    done = as_process("run", str(pipeline_file), "--param", "root=/", script=True, LOCKGATE_KFP_HOST=server.address)
    (run_id,) = server.runs
    assert (done.returncode, done.stderr) == (0, "") and run_id in done.stdout
    listed = as_process("runs", "--json", script=True, LOCKGATE_KFP_HOST=server.address)
    assert [each["run"] for each in json.loads(listed.stdout)] == [run_id]
    assert as_process("wait", run_id, script=True, LOCKGATE_KFP_HOST=server.address).returncode == 3


def test_help_imports_no_kfp():
    code = "import sys; from pipeline.cli import app; print('kfp' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd="/", env={"PYTHONPATH": str(PROJECT)}
    )
    assert done.stdout == "False\n"
