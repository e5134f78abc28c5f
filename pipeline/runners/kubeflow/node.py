"""One step of a Kubeflow run: one node through TFX's launcher against the MLMD that all steps share.

A gate, the budget or the ledger that refuses is no failure: the step ends well, the run is marked in MLMD, and the
steps after it find the mark and do nothing. So it is with a run that is to take what is due, where nothing is.
"""

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from components.common import progress
from components.common.errors import BudgetError, ConfigError, Interrupted, LockgateError, ServiceError
from pipeline.guards import Signals, unwritable

_GRACE_SECONDS = 60
_TRIES_BEFORE = "KFP_RETRY_INDEX"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a step.

    Returns:
        0 done, from the cache, skipped or refused; 2 the configuration, the data or a service; 143 interrupted; 1 a
        fault of ours.
    """
    step = _parser().parse_args(arguments)
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(message)s")
    with Signals().held() as signals:
        try:
            _end_after(step.timeout)
            with signals.interrupting():
                print(f"lockgate: {_run(step)}", flush=True)
        except (Exception, Interrupted) as error:
            told = error if isinstance(error, Interrupted) else explained(error, step.metadata)
            print(f"lockgate: {told}", file=sys.stderr)
            if step.last_try and step.settings:
                _close(step, told)
            return told.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run_node.py", description="Runs one node of a compiled graph.")
    add_shared(parser)
    parser.add_argument("--node", required=True, help="the node's id")
    parser.add_argument("--timeout", type=int, default=0, help="seconds after which the step is ended; 0: never")
    parser.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE", help="a runtime parameter")
    parser.add_argument("--carries", action="append", default=[], help="a piece of what steps share; the first has it")
    parser.add_argument("--retries", type=int, help="how often the first step is tried again")
    parser.add_argument("--gpu", type=int, default=0, help="accelerators that the step has asked for")
    parser.add_argument("--gpu-type", default="", help="what they are to Kubernetes")
    parser.add_argument("--pushed", type=Path, help="a file for `true` or `false`: whether a model was pushed")
    parser.add_argument("--idle", type=Path, help="a file for `true` or `false`: whether the run has nothing to do")
    parser.set_defaults(metadata="", settings="", last_try=False)  # what a step learns as it goes
    return parser


def add_shared(parser: argparse.ArgumentParser) -> None:
    """The arguments of every step."""
    parser.add_argument("--root", type=Path, required=True, help="where the volume is mounted")
    parser.add_argument("--graph", required=True, help="fingerprint of what the steps share, which is on the volume")
    parser.add_argument("--run", required=True, help="the run's id")


def _run(step: argparse.Namespace) -> str:
    """Runs the step; gives the sentence that says how it ended."""
    from components.common.mlmd import connection
    from pipeline.runners.kubeflow import carried
    from pipeline.runners.kubeflow.accelerator import require_visible
    from pipeline.runners.kubeflow.imports import only_for
    from pipeline.runners.kubeflow.slices import sliced

    if step.carries:
        carried.keep(step.root, "".join(step.carries))
    common = shared_by_steps(step)
    part = sliced(common.graph, step.node)
    with only_for(part):
        from pipeline.runners.kubeflow.shared import SharedRun
        from pipeline.runners.nodes import bind
    joining = sliced(common.graph, step.node)  # whose contexts know the run before its parameters are known
    bind(joining, step.run)
    shared = SharedRun(connection(common.metadata), joining.nodes[0].pipeline_node, step.run)
    stopped = shared.join(step.graph)
    if step.retries is not None:
        step.last_try = _is_last_try(shared.begin(), step.retries)
    given, reading = dict(text.split("=", 1) for text in step.parameter), nullcontext()
    if not stopped:
        given, stopped, reading = _spanned(step, shared, given)
    bind(part, step.run, **given)
    said = f"{step.node} is skipped, because {stopped}"
    if not stopped:
        require_visible(step.gpu, step.gpu_type)
        with reading, progress.watching(lambda line: print(f"lockgate: {step.node}: {line}", flush=True)):
            said = _launched(part, part.nodes[0].pipeline_node, shared)
    if step.idle:
        _close_idle(step, shared.idle)
    if step.pushed:
        _answer(step.pushed, shared.has_pushed())
    return said


def _is_last_try(tries: int, retries: int) -> bool:
    """Whether Argo tries the step no more after this.

    Kubeflow Pipelines 2.16.1 and newer say how many tries were before (argocompiler/common.go: retryIndexEnv). Else
    those count that reached MLMD, where the tries of a run that somebody begins anew (`Retry` in Kubeflow's UI) come on
    top of the earlier ones.
    """
    before = os.environ.get(_TRIES_BEFORE, "")
    return int(before) >= retries if before.isdecimal() else tries % (retries + 1) == 0


def _spanned(
    step: argparse.Namespace, shared, given: dict[str, str]
) -> tuple[dict[str, str], str, AbstractContextManager]:
    """The parameters with the span as a node is given it; why there is nothing to do, empty where there is; and a
    context in which the span is read."""
    from components.common.events import IDLE
    from pipeline.spans import DUE, SPAN, as_range

    if SPAN not in given:
        return given, "", nullcontext()
    if given[SPAN] != DUE:
        return {**given, SPAN: as_range(given[SPAN])}, "", nullcontext()
    from pipeline.runners.kubeflow.due import take_due, unchanged

    span, idle = take_due(step.settings, step.run, step.metadata)
    if idle:
        shared.refuse(idle, IDLE)
    return {**given, SPAN: as_range(span)}, idle, unchanged(step.settings, step.run)


def _close_idle(step: argparse.Namespace, idle: str) -> None:
    """Closes the run where it has nothing to do: the rest of it, and with that the report, is skipped."""
    if idle:
        from pipeline.runners.kubeflow.closing import close_idle
        from pipeline.runners.kubeflow.settings import read

        close_idle(read(step.settings), step.run, idle)
    _answer(step.idle, bool(idle))


def _close(step: argparse.Namespace, failure: LockgateError | Interrupted) -> None:
    """Closes the run whose first step has failed for good: without that one there is no report."""
    from pipeline.runners.kubeflow.closing import close
    from pipeline.runners.kubeflow.settings import read

    try:
        close(read(step.settings), step.run, step.metadata, failure)
    except Exception as error:
        print(f"lockgate: the run is left without a record: {explained(error, step.metadata)}", file=sys.stderr)


def _answer(file: Path, yes: bool) -> None:
    """An output of the step, on which a condition of Kubeflow's looks."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("true" if yes else "false")


def shared_by_steps(step: argparse.Namespace) -> "Carried":  # noqa: F821 - imported late
    """What the steps of a run share, if the step, the image and the cluster fit together.

    Raises:
        ConfigError: they do not.
    """
    from pipeline.runners.kubeflow import carried
    from pipeline.runners.kubeflow.slices import code_fingerprint

    if "{{" in step.run:
        raise ConfigError(f"Kubeflow Pipelines must fill in the run's id, as 2.5 and newer do. Received: {step.run}")
    common, own = carried.kept(step.root, step.graph), code_fingerprint()
    if own != common.code:
        raise ConfigError(
            "the image must hold the code that compiled the graph: build the image or compile again. "
            f"Received: a graph of {common.code[:12]}, an image of {own[:12]}"
        )
    step.metadata, step.settings = common.metadata, common.settings
    return common


def _launched(part, node, shared) -> str:
    """Launches the node; gives the sentence that says how it ended."""
    from pipeline.failures import explain
    from pipeline.runners.nodes import launch, state_of

    id, root = node.node_info.id, part.runtime_spec.pipeline_root.field_value.string_value
    launched_by = _made_ready(root, node, shared.unfinished())
    try:
        launched = launch(part, node, shared.database, launched_by)
    except Interrupted:
        shared.cancel()
        raise
    except Exception as error:
        told = explain(error)
        if told.exit_code != BudgetError.exit_code:
            if told.cause != LockgateError.cause:
                shared.failed(told)
            raise
        logging.exception("%s refuses", id)
        shared.refuse(f"{id}: {told}", told.cause)
        return f"{id} refuses, and nothing after it runs: {told}"
    if launched is None or launched.execution_id is None:
        return f"{id} is skipped by its condition"
    shared.stamp()
    state = state_of(shared.database, launched.execution_id)
    if state == "failed":
        raise LockgateError(f"node {id} must find its inputs. The log says which are missing")
    return f"{id} {state}"


def _made_ready(root: str, node, leftovers: list[int]):
    """Makes sure that the pipeline's root can be written, and removes what earlier tries have left there; gives the
    launcher for it. A resolver asks MLMD alone, and has no keys of a bucket."""
    from components.common.remote import is_remote
    from pipeline.runners.kubeflow.shared import StampingLauncher
    from pipeline.runners.nodes import opens_nothing, remove_outputs

    if opens_nothing(node):
        return StampingLauncher
    if is_remote(root):
        from pipeline.runners.kubeflow import staging

        staging.make_ready(root, node, leftovers)
        return staging.StagingLauncher
    try:
        Path(root).mkdir(parents=True, exist_ok=True)
        for execution in leftovers:
            remove_outputs(Path(root), execution)
    except OSError as error:
        raise unwritable(Path(root), error) from None
    return StampingLauncher


def explained(error: Exception, metadata: str) -> LockgateError:
    """The one line; what MLMD's client raises when its server is away is the server's."""
    from ml_metadata import errors

    from pipeline.failures import explain

    if not isinstance(error, LockgateError):
        logging.error("the step failed", exc_info=error)
    lost = ("connection to Metadata storage", "metadata source error")  # as TFX and MLMD's binding say it
    if isinstance(error, errors.StatusError) or any(words in str(error) for words in lost):
        reason = " ".join(str(error).split())
        return ServiceError(f"MLMD at {metadata} must answer; the step can be tried again. Received: {reason}")
    return explain(error)


def _end_after(seconds: int) -> None:
    """Interrupts this process after so many seconds, and ends it if that does not help."""
    if not seconds:
        return

    def end() -> None:
        print(f"lockgate: a step must end within {seconds} s, its timeout_seconds. It did not", file=sys.stderr)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE_SECONDS)
        os._exit(128 + signal.SIGTERM)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
