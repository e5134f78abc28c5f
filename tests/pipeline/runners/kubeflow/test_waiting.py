"""What a run's end means, and waiting for it through thick and thin."""

import collections
import json
import threading
import time

import kfp_server_api
import pytest

from components.common.errors import ServiceError
from pipeline.runners.kubeflow import waiting
from pipeline.runners.kubeflow.client import Kubeflow
from pipeline.runners.kubeflow.package import read
from pipeline.runners.kubeflow.waiting import outcome, wait
from tests.pipeline.runners.kubeflow.stub import look

DONE = {"trainer": "SUCCEEDED", "selector": "SUCCEEDED", "report": "SUCCEEDED"}


REST = {"componentRef": {"name": "comp-exit-handler-1"}, "triggerPolicy": {"condition": "of the first step"}}
SPEC = {"root": {"dag": {"tasks": {"exit-handler-1": REST}}}}


def run_of(shown: dict) -> kfp_server_api.V2beta1Run:
    class Response:
        data = json.dumps({**shown, "pipeline_spec": SPEC})

    return kfp_server_api.ApiClient().deserialize(Response, "V2beta1Run")


@pytest.mark.parametrize(
    ("shown", "code", "state"),
    [
        (look("SUCCEEDED", **DONE, pushed="SUCCEEDED"), 0, "SUCCEEDED"),
        (look("SUCCEEDED", **DONE, pushed="SKIPPED"), 3, "SUCCEEDED"),
        (look("SUCCEEDED", **DONE), 3, "SUCCEEDED"),
        (look("SUCCEEDED", reader="SUCCEEDED", **{"exit-handler-1": "SKIPPED"}), 0, "SUCCEEDED"),
        (look("SUCCEEDED", **DONE, **{"other-dag": "SKIPPED"}), 3, "SUCCEEDED"),
        ({"state": "SUCCEEDED"}, 3, "SUCCEEDED"),
        (look("FAILED", trainer="FAILED"), 1, "FAILED"),
        (look("FAILED", error="main: Error (exit code 1)", trainer="FAILED"), 1, "FAILED"),
        (look("FAILED", error="main: Error (exit code 2)", trainer="FAILED"), 2, "FAILED"),
        (look("FAILED", error="main: Error (exit code 255)", trainer="FAILED"), 1, "FAILED"),
        ({"state": "FAILED"}, 1, "FAILED"),
        # KFP before 2.4: the exit handler's own success hides the failure
        (look("SUCCEEDED", trainer="FAILED", report="SUCCEEDED"), 1, "FAILED"),
        (look("SUCCEEDED", **DONE, pushed="SUCCEEDED", **{"pusher-driver ": "FAILED"}), 1, "FAILED"),
        # a try that failed, and was made again
        (look("SUCCEEDED", **DONE, pushed="SUCCEEDED", **{"executor(0)": "FAILED", "executor(1)": "SUCCEEDED"}), 0,
         "SUCCEEDED"),
        (look("CANCELED", trainer="FAILED"), 130, "CANCELED"),
        # terminated by somebody
        (look("FAILED", ("RUNNING", "CANCELING"), trainer="FAILED"), 130, "CANCELED"),
    ],
)  # fmt: skip
def test_the_exit_code_of_a_run(shown, code, state):
    found = outcome(run_of(shown))
    assert (found.exit_code, found.state) == (code, state)


@pytest.fixture
def started(server, pipeline_file, quick):
    """A client, and the id of a run that it started."""
    kubeflow = Kubeflow(server.address)
    return kubeflow, kubeflow.submit(read(pipeline_file), {"root": "/"}, "first", "by hand")


def test_progress_is_a_line_for_each_steps_start_and_end(server, started):
    kubeflow, run_id = started
    server.films[run_id].clear()
    server.films[run_id] += [
        {"state": "PENDING"},
        look("RUNNING", trainer="RUNNING"),
        look("RUNNING", trainer="RUNNING"),
        look("RUNNING", trainer="SUCCEEDED", selector="RUNNING"),
        look("RUNNING", trainer="SUCCEEDED", selector="SUCCEEDED", pushed="SUCCEEDED", report="RUNNING"),
        look("SUCCEEDED", **DONE, pushed="SUCCEEDED"),
    ]
    lines: list[str] = []
    assert wait(*started, lines.append).exit_code == 0
    assert lines == [
        "trainer started",
        "trainer done in 120 s, 1 of 5",
        "selector started",
        "selector done in 120 s, 2 of 5",
        "pushed done in 120 s, 3 of 5",
        "report started",
        "report done in 120 s, 4 of 5",
    ]


def test_the_tasks_may_come_after_the_end(server, started):
    server.films[started[1]].clear()
    server.films[started[1]] += [look("SUCCEEDED", trainer="SUCCEEDED"), look("SUCCEEDED", **DONE, pushed="SUCCEEDED")]
    assert wait(*started, print).pushed


def test_a_terminated_run_was_seen_canceling(server, started):
    server.films[started[1]].clear()
    server.films[started[1]] += [look("CANCELING"), look("FAILED", trainer="FAILED")]
    assert wait(*started, print).exit_code == 130


def test_a_restart_of_the_server_does_not_end_a_wait(server, started):
    server.films[started[1]].clear()
    server.films[started[1]].append(look("RUNNING", trainer="RUNNING"))
    lines: list[str] = []
    found: list = []
    thread = threading.Thread(target=lambda: found.append(wait(*started, lines.append)), daemon=True)
    thread.start()
    _until(lambda: lines)
    server.stop()
    _until(lambda: "Asking again" in lines[-1])
    server.films[started[1]] = collections.deque([look("SUCCEEDED", **DONE, pushed="SUCCEEDED")])
    server.faults += [503, 502, "drop", "drop", "drop", "drop"]
    server.start()
    thread.join(20)
    assert found[0].exit_code == 0 and not server.faults
    away, back = (line for line in lines if "Kubeflow" in line)
    assert "Received: " in away and away.endswith("Asking again for 6 s.")
    assert back == "Kubeflow Pipelines answers again."


def test_patience_and_time_end(server, started, monkeypatch):
    server.films[started[1]].clear()
    server.films[started[1]].append(look("RUNNING", trainer="RUNNING"))
    with pytest.raises(ServiceError, match=f"within `--timeout`. Received: 0.3 s. .* kubeflow wait {started[1]}"):
        wait(*started, print, timeout=0.3)
    monkeypatch.setattr(waiting, "PACE", waiting.Pace(interval=0.05, first=0.01, longest=0.1, patience=0.4))
    server.faults.extend([503] * 100)
    began = time.monotonic()
    with pytest.raises(ServiceError, match=f"503 no upstream .* for 0.4 s. .* kubeflow wait {started[1]}"):
        wait(*started, print)
    assert 0.4 < time.monotonic() - began < 5
    server.faults.clear()
    server.faults.append(401)
    with pytest.raises(ServiceError, match="LOCKGATE_KFP_TOKEN"):
        wait(*started, print)


def _until(there) -> None:
    end = time.monotonic() + 20
    while not there():
        assert time.monotonic() < end
        time.sleep(0.01)
