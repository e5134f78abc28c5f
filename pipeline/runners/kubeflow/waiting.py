"""Waits for a run with a calm line a step, through restarts of the API server, and gives the run's exit code."""

import dataclasses
import datetime
import re
import time
from collections.abc import Callable

from kfp_server_api import V2beta1PipelineTaskDetail, V2beta1Run

from components.common.errors import ServiceError
from pipeline.runners.kubeflow.client import Away, Kubeflow
from pipeline.runners.kubeflow.package import PUSHED, rest, steps

_ENDED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
_ATTEMPT = re.compile(r"\(\d+\)$")  # Argo's name of one try of a task that is retried


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pace:
    """How often a server is asked, in seconds.

    Attributes:
        interval: between two looks at a run.
        first: before the first new try when the server is away; each further pause is twice as long.
        longest: the longest such pause.
        patience: how long the server may be away.
        pending: how long a step may wait for its pod to run before that is said.
    """

    interval: float = 5.0
    first: float = 1.0
    longest: float = 30.0
    patience: float = 600.0
    pending: float = 300.0


PACE = Pace()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended: `failed` names the steps that did, `exit_code` is what `lockgate run` would have ended with, or
    `lockgate retrain` where it was to take what is due; `idle`: nothing was."""

    state: str
    pushed: bool
    failed: tuple[str, ...]
    exit_code: int
    idle: bool = False


def outcome(run: V2beta1Run, cancelled: bool = False) -> Outcome:
    """Reads a run that ended.

    A run failed if it says so, or if one of its tasks did: before 2.4, KFP calls a run a success whose tasks failed
    inside an exit handler (kubeflow/pipelines #10917). A try that failed and was made again does not count. A run that
    somebody terminated ends as FAILED, too, having been CANCELING.

    Args:
        run: with the details of its tasks.
        cancelled: whether it was seen CANCELING.

    Returns:
        The outcome. Exit code: 130 cancelled; 2 or 1 failed, 2 where the server quotes "exit code 2" (KFP up to 2.17
        quotes no exit code, so 1 there); 0 pushed, or nothing was due; 3 nothing pushed.
    """
    tasks = _tasks(run)
    broken = [t for t in tasks if t.state == "FAILED" and not _ATTEMPT.search(t.display_name)]
    own = set(steps(run.pipeline_spec))
    failed = tuple(t.display_name for t in broken if t.display_name in own) or tuple(t.display_name for t in broken)
    cancelled = cancelled or any(past.state == "CANCELING" for past in run.state_history or [])
    ended = {(t.display_name, t.state) for t in tasks}
    pushed, idle = (PUSHED, "SUCCEEDED") in ended, (rest(run.pipeline_spec), "SKIPPED") in ended
    if run.state == "CANCELED" or (run.state == "FAILED" and cancelled):
        return Outcome(state="CANCELED", pushed=pushed, failed=failed, exit_code=130)
    if run.state == "FAILED" or broken:
        said = " ".join(e.message or "" for e in (run.error, *(t.error for t in broken)) if e)
        users = re.search(r"\bexit code 2\b", said)
        return Outcome(state="FAILED", pushed=pushed, failed=failed, exit_code=2 if users else 1)
    return Outcome(state=run.state, pushed=pushed, failed=(), exit_code=0 if pushed or idle else 3, idle=idle)


def wait(kubeflow: Kubeflow, run_id: str, say: Callable[[str], None], timeout: float | None = None) -> Outcome:
    """Waits for the end of a run.

    Args:
        say: takes a line of progress.
        timeout: seconds to wait for the end, or None for as long as it takes.

    Raises:
        ServiceError: the server was away for longer than `PACE.patience`, the time is over (the run goes on in both
            cases), or the server refuses to tell.
    """
    began, away, pause = time.monotonic(), None, PACE.first
    told: dict[str, str] = {}
    cancelled = ended = False
    while True:
        try:
            run = kubeflow.run(run_id)
        except Away as error:
            away = _still(error, away, run_id, say)
            rest, pause = pause, min(2 * pause, PACE.longest)
        else:
            if away is not None:
                say("Kubeflow Pipelines answers again.")
            away, pause, rest = None, PACE.first, PACE.interval
            _progress(run, told, say)
            cancelled |= run.state == "CANCELING"
            if ended:
                return outcome(run, cancelled)
            ended = run.state in _ENDED  # looked at once more: the server stores a run's end before its tasks'
        if timeout is not None and time.monotonic() - began + rest > timeout and not ended:
            raise ServiceError(f"the run must end within `--timeout`. Received: {timeout:g} s. {_goes_on(run_id)}")
        time.sleep(rest)


def _still(error: Away, since: float | None, run_id: str, say: Callable[[str], None]) -> float:
    """When the server went away; an error if that is too long ago."""
    if since is None:
        say(f"{error}. Asking again for {PACE.patience:g} s.")
        return time.monotonic()
    if time.monotonic() - since > PACE.patience:
        raise ServiceError(f"{error}, for {PACE.patience:g} s. {_goes_on(run_id)}") from None
    return since


def _goes_on(run_id: str) -> str:
    return f"The run goes on; see lockgate kubeflow wait {run_id}"


def _progress(run: V2beta1Run, told: dict[str, str], say: Callable[[str], None]) -> None:
    """Says what changed since the last look; `told` holds the state that was said of each step."""
    names = steps(run.pipeline_spec)
    for task in sorted(_tasks(run), key=lambda t: (t.start_time is None, t.start_time)):
        name, state = task.display_name, task.state
        if name not in names or told.get(name) == state or (state == "PENDING" and not _is_late(task)):
            continue
        if state == "RUNNING":
            say(f"{name} started")
        elif state == "PENDING":
            say(f"{name} waits for its pod to run for over {PACE.pending:g} s: look at the pod's events")
        elif state in ("SUCCEEDED", "FAILED"):
            done = sum(s in ("SUCCEEDED", "FAILED") for n, s in told.items() if n != name) + 1
            say(f"{name} {'done' if state == 'SUCCEEDED' else 'failed'}{_lasted(task)}, {done} of {len(names)}")
        told[name] = state


def _is_late(task: V2beta1PipelineTaskDetail) -> bool:
    """Whether a step that was given to Kubernetes should have begun."""
    began = task.start_time or task.create_time
    now = datetime.datetime.now(datetime.timezone.utc)
    return began is not None and (now - began).total_seconds() > PACE.pending


def _lasted(task: V2beta1PipelineTaskDetail) -> str:
    if not task.start_time or not task.end_time or task.end_time < task.start_time:
        return ""
    return f" in {(task.end_time - task.start_time).total_seconds():.0f} s"


def _tasks(run: V2beta1Run) -> list[V2beta1PipelineTaskDetail]:
    tasks = run.run_details.task_details if run.run_details else None
    return [t for t in tasks or [] if t.display_name]
