"""The driver that stands in for Kubeflow runs steps when Argo does: conditions, exit tasks, retries and deadlines."""

import time
from functools import partial

import pytest
from kfp import dsl, kubernetes

from tests.e2e.kfp_driver.controller import FAILED, SKIPPED, SUCCEEDED
from tests.e2e.kfp_driver.pod import kill
from tests.e2e.kfp_driver.retries import Again, next_try
from tests.e2e.kfp_driver.spec import KFP_2_5
from tests.e2e.kfp_driver.steps import answer, count, double, fail, quiet, run_steps, said, say, sleep
from tests.e2e.kfp_driver.workflow import RetryStrategy


@pytest.fixture
def ran(tmp_path):
    """Compiles a pipeline and runs it."""
    return partial(run_steps, tmp_path)


def test_outputs_are_read_by_their_type_and_conditions_ask_them(ran):
    def steps():
        yes, number = quiet(answer(text="true")), quiet(count(text="21"))
        quiet(double(number=number.outputs["out"]))
        with dsl.If(yes.outputs["out"] == "true", name="if-true"):
            quiet(say(text="yes"))
        with dsl.If(yes.outputs["out"] != "true", name="if-not"):
            quiet(fail())

    run = ran(steps)
    assert run.phase == SUCCEEDED and said(run, "double") == "42" and said(run, "say") == "yes"
    assert run.phase_of("condition-2") == SKIPPED and "fail" not in run.started()


def exit_handled(*, report=say, last=fail):
    def steps():
        closing = quiet(report(**({"text": "closed"} if report is say else {})))
        with dsl.ExitHandler(closing, name="run"):
            first = quiet(answer(text="true"))
            if last:
                quiet(last()).after(first)

    return steps


def test_the_exit_task_runs_after_a_failure_which_the_run_ends_with(ran):
    run = ran(exit_handled())
    assert run.phase == FAILED and run.phase_of("exit-handler-1") == FAILED and said(run, "say") == "closed"
    assert run.tries_of("fail")[0].code == 3


def test_the_exit_tasks_own_failure_changes_nothing_for_the_run(ran):
    run = ran(exit_handled(report=fail, last=None))
    assert run.phase == SUCCEEDED and run.phase_of("fail") == FAILED


@pytest.mark.parametrize(("text", "phase"), [("true", SUCCEEDED), ("false", SKIPPED)])
def test_the_exit_task_of_a_dag_that_is_skipped_does_not_run(ran, text, phase):
    def steps():
        first = quiet(answer(text=text))
        with dsl.If(first.outputs["out"] == "true", name="run"):
            quiet(say(text="in it"))

    def with_exit_task(pipeline, *platform):
        """What ExitHandler writes, on a DAG that has a condition, where the SDK does not write it."""
        pipeline["root"]["dag"]["tasks"]["closing"] = {
            "componentRef": {"name": "comp-say"},
            "dependentTasks": ["condition-1"],
            "inputs": {"parameters": {"text": {"runtimeValue": {"constant": "closed"}}}},
            "taskInfo": {"name": "closing"},
            "triggerPolicy": {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"},
        }

    run = ran(steps, changed=with_exit_task)
    assert run.phase == SUCCEEDED and run.phase_of("condition-1") == phase
    assert run.started() == (["answer", "say", "closing"] if phase == SUCCEEDED else ["answer"])


def nested(retries: int = 1):
    def steps():
        with dsl.ExitHandler(quiet(say(text="closed")), name="run"):
            quiet(sleep()).set_retry(retries, "0s", 2.0)

    return steps


def kill_first(name, index, process):
    if name == "sleep" and index == 0:
        time.sleep(0.3)
        kill(process)
    elif name == "sleep":
        process.terminate()


def test_a_step_that_was_killed_is_tried_again_as_often_as_it_may_be(ran):
    run = ran(nested(), started=kill_first)
    assert [end.code for end in run.tries_of("sleep")] == [-9, -15] and run.phase == FAILED
    assert run.log("sleep").splitlines()[:1] == ["try 0"] and "No more retries left" in run.explained()


def test_kfp_2_5_tries_no_step_again_that_is_in_an_exit_handler(ran):
    run = ran(nested(), started=kill_first, release=KFP_2_5)
    assert [end.code for end in run.tries_of("sleep")] == [-9]


def test_a_pod_is_ended_when_its_time_is_over(ran, tmp_path):
    def steps():
        kubernetes.mount_pvc(quiet(sleep()), "volume", str(tmp_path))

    def with_deadline(pipeline, platform):
        platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-sleep"]["activeDeadlineSeconds"] = "1"

    run = ran(steps, claims={"volume": tmp_path}, changed=with_deadline)
    assert run.phase == FAILED and [end.code for end in run.tries_of("sleep")] == [-15]


@pytest.mark.parametrize(
    ("tries", "last_end", "max_duration", "expected"),
    [
        (1, 50.0, 3600, Again(at=60.0, deadline=3600.0)),
        (2, 100.0, 3600, Again(at=120.0, deadline=3600.0)),
        (3, 200.0, 3600, "No more retries left"),
        (1, 3601.0, 3600, "Max duration limit exceeded"),
        (1, 3595.0, 3600, "Backoff would exceed max duration limit"),
        (1, 9000.0, None, Again(at=9010.0, deadline=None)),
        (1, 0.5, 0, "Max duration limit exceeded"),
    ],
)
def test_retries_wait_longer_each_time_and_end_with_the_time_for_all_of_them(tries, last_end, max_duration, expected):
    strategy = RetryStrategy(limit=2, duration=10, factor=2, max_duration=max_duration)
    assert next_try(strategy, tries, 0.0, last_end) == expected
