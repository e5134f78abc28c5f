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
from contextlib import nullcontext
from pathlib import Path

from components.common.errors import BudgetError, ConfigError, Interrupted, LockgateError, ServiceError
from pipeline.guards import Signals, unwritable

_GRACE_SECONDS = 60


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
        except Interrupted as interrupted:
            print(f"lockgate: {interrupted}", file=sys.stderr)
            return interrupted.exit_code
        except Exception as error:
            told = explained(error, step)
            print(f"lockgate: {told}", file=sys.stderr)
            return told.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run_node.py", description="Runs one node of a compiled graph.")
    parser.add_argument("--slice", required=True, help="the node's part of the graph, as compile.py wrote it")
    parser.add_argument("--graph", required=True, help="fingerprint of the whole graph")
    parser.add_argument("--code", required=True, help="fingerprint of the code that compiled it")
    parser.add_argument("--run", required=True, help="the run's id")
    parser.add_argument(
        "--metadata", required=True, help="MLMD: a file, postgresql://host:port/database, mysql://… or grpc://…"
    )
    parser.add_argument("--timeout", type=int, default=0, help="seconds after which the step is ended; 0: never")
    parser.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE", help="a runtime parameter")
    parser.add_argument("--settings", default="", help="the configuration, for a node that asks which span is due")
    parser.add_argument("--pushed", type=Path, help="a file for `true` or `false`: whether a model was pushed")
    parser.add_argument("--idle", type=Path, help="a file for `true` or `false`: whether the run has nothing to do")
    return parser


def _run(step: argparse.Namespace) -> str:
    """Runs the step; gives the sentence that says how it ended."""
    checked(step)
    from components.common import progress
    from components.common.events import IDLE
    from components.common.mlmd import connection
    from pipeline.runners.kubeflow.imports import only_for
    from pipeline.runners.kubeflow.slices import decode

    part = decode(step.slice)
    with only_for(part):
        from pipeline.runners.kubeflow.shared import SharedRun
        from pipeline.runners.nodes import bind
        from pipeline.spans import DUE, SPAN, as_range
    given, idle, reading = dict(text.split("=", 1) for text in step.parameter), "", nullcontext()
    if given.get(SPAN) == DUE:
        from pipeline.runners.kubeflow.due import take_due, unchanged

        given[SPAN], idle = take_due(step.settings, step.run, step.metadata)
        reading = unchanged(step.settings, step.run)
    if SPAN in given:
        given[SPAN] = as_range(given[SPAN])
    bind(part, step.run, **given)
    node = part.nodes[0].pipeline_node
    id, shared = node.node_info.id, SharedRun(connection(step.metadata), node, step.run)
    stopped = shared.join(step.graph)
    if idle and not stopped:
        shared.refuse(idle, IDLE)
        stopped = idle
    if stopped:
        said = f"{id} is skipped, because {stopped}"
    else:
        with reading, progress.watching(lambda line: print(f"lockgate: {id}: {line}", flush=True)):
            said = _launched(part, node, shared)
    if step.pushed:
        _answer(step.pushed, shared.has_pushed())
    if step.idle:
        _answer(step.idle, bool(stopped))  # before this node, nothing refuses
    return said


def _answer(file: Path, yes: bool) -> None:
    """An output of the step, on which a condition of Kubeflow's looks."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("true" if yes else "false")


def checked(step: argparse.Namespace) -> None:
    """Makes sure that the step, the image and the cluster fit together.

    Raises:
        ConfigError: they do not.
    """
    from pipeline.runners.kubeflow.slices import code_fingerprint

    if "{{" in step.run:
        raise ConfigError(f"Kubeflow Pipelines must fill in the run's id, as 2.4 and newer do. Received: {step.run}")
    own = code_fingerprint()
    if own != step.code:
        raise ConfigError(
            "the image must hold the code that compiled the graph: build the image or compile again. "
            f"Received: a graph of {step.code[:12]}, an image of {own[:12]}"
        )


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
    launcher for it."""
    from components.common.remote import is_remote
    from pipeline.runners.kubeflow.shared import StampingLauncher
    from pipeline.runners.nodes import remove_outputs

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


def explained(error: Exception, step: argparse.Namespace) -> LockgateError:
    """The one line; what MLMD's client raises when its server is away is the server's."""
    from ml_metadata import errors

    from pipeline.failures import explain

    if not isinstance(error, LockgateError):
        logging.error("the step failed", exc_info=error)
    lost = ("connection to Metadata storage", "metadata source error")  # as TFX and MLMD's binding say it
    if isinstance(error, errors.StatusError) or any(words in str(error) for words in lost):
        reason = " ".join(str(error).split())
        return ServiceError(f"MLMD at {step.metadata} must answer; the step can be tried again. Received: {reason}")
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
