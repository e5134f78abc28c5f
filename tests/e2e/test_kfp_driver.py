"""The driver that stands in for Kubeflow is as strict as KFP: steps of a shell show what it fills in, and when."""

import time
from pathlib import Path

import pytest
import yaml
from kfp import compiler, dsl, kubernetes

from tests.e2e.kfp_driver.controller import FAILED, OMITTED, SKIPPED, SUCCEEDED, Kubeflow, Workflow
from tests.e2e.kfp_driver.pod import Namespace, NeverStarts, kill
from tests.e2e.kfp_driver.retries import Again, next_try
from tests.e2e.kfp_driver.spec import KFP_2_5, KFP_2_14, KFP_2_17, Refused
from tests.e2e.kfp_driver.workflow import RetryStrategy

IMAGE = {"PATH": "/usr/bin:/bin"}


@dsl.container_component
def say(text: str):
    return dsl.ContainerSpec(image="i", command=["sh", "-c", 'echo "said: $0"'], args=[text])


@dsl.container_component
def placeholder_in_an_argument():
    return dsl.ContainerSpec(image="i", command=["sh", "-c", 'echo "said: $0"'], args=[dsl.PIPELINE_JOB_ID_PLACEHOLDER])


@dsl.container_component
def answer(text: str, out: dsl.OutputPath(str)):
    return dsl.ContainerSpec(image="i", command=["sh", "-c", 'printf %s "$0" > "$1"'], args=[text, out])


@dsl.container_component
def count(text: str, out: dsl.OutputPath(int)):
    return dsl.ContainerSpec(image="i", command=["sh", "-c", '[ -z "$0" ] || echo "$0" > "$1"'], args=[text, out])


@dsl.container_component
def double(number: int):
    return dsl.ContainerSpec(image="i", command=["sh", "-c", 'echo "said: $(($0 * 2))"'], args=[number])


@dsl.container_component
def fail():
    return dsl.ContainerSpec(image="i", command=["sh", "-c", "exit 3"])


@dsl.container_component
def surroundings():
    return dsl.ContainerSpec(image="i", command=["sh", "-c", "env; echo here: $(ls -A)"])


@dsl.container_component
def sleep():
    return dsl.ContainerSpec(image="i", command=["sh", "-c", "echo try $KFP_RETRY_INDEX; sleep 60"])


def quiet(task: dsl.PipelineTask) -> dsl.PipelineTask:
    return task.set_caching_options(False)


def alone(component, **given):
    """A pipeline of one step."""

    def steps():
        quiet(component(**given))

    return steps


@pytest.fixture
def ran(tmp_path):
    """Compiles a pipeline and runs it."""

    def run(steps, *, changed=lambda *documents: None, secrets=None, claims=None, given=None, **cluster) -> Workflow:
        steps.__name__ = "p"
        file = tmp_path / "package.yaml"
        compiler.Compiler().compile(dsl.pipeline(steps, name="p"), str(file))
        documents = list(yaml.safe_load_all(file.read_text()))
        changed(*documents)
        file.write_text(yaml.safe_dump_all(documents))
        namespace = Namespace(image=IMAGE, secrets=secrets or {}, claims=claims or {})
        return Kubeflow(folder=tmp_path / "pods", namespace=namespace, **cluster).run(file, given)

    return run


def said(run: Workflow, name: str) -> str:
    (line,) = [line for line in run.log(name).splitlines() if line.startswith("said: ")]
    return line.removeprefix("said: ")


@pytest.mark.parametrize("release", [KFP_2_5, KFP_2_14, KFP_2_17])
def test_the_runs_id_is_filled_in_as_a_tasks_constant_and_stays_text_in_an_argument(ran, release):
    def steps():
        quiet(say(text=dsl.PIPELINE_JOB_ID_PLACEHOLDER))
        quiet(say(text=f"run {dsl.PIPELINE_JOB_ID_PLACEHOLDER}"))
        quiet(placeholder_in_an_argument())

    run = ran(steps, release=release)
    assert run.phase == SUCCEEDED and said(run, "say") == run.run.id
    assert said(run, "say-2") == "run {{$.pipeline_job_uuid}}"
    assert said(run, "placeholder-in-an-argument") == "{{$.pipeline_job_uuid}}"


def test_a_step_has_the_images_environment_and_an_empty_folder_and_no_more(ran, monkeypatch):
    monkeypatch.setenv("OF_THE_TEST", "leaked")

    def steps():
        task = quiet(surroundings()).set_env_variable("OF_THE_PACKAGE", "given")
        kubernetes.use_secret_as_env(task, "mysql", {"password": "PASSWORD"})

    run = ran(steps, secrets={"mysql": {"password": "sesame"}})
    lines = run.log("surroundings").splitlines()
    names = {line.split("=")[0] for line in lines if "=" in line} - {"PWD", "SHLVL", "_", "OLDPWD"}
    own = {"HOME", "TMPDIR", "KFP_POD_NAME", "KFP_POD_UID", "KFP_RETRY_INDEX"}
    assert names == {"PATH", "OF_THE_PACKAGE", "PASSWORD"} | own and "here:" in lines
    assert "OF_THE_PACKAGE=given" in lines and "PASSWORD=sesame" in lines


@pytest.mark.parametrize("missing", ["secret", "key", "claim", "folder", "another path"])
def test_what_is_not_in_the_namespace_is_waited_for_without_an_end(ran, tmp_path, missing):
    def steps():
        task = quiet(surroundings())
        kubernetes.use_secret_as_env(task, "mysql", {"password": "PASSWORD"})
        kubernetes.mount_pvc(task, "volume", str(tmp_path / "elsewhere" if missing == "another path" else tmp_path))

    secrets = {"mysql": {"user" if missing == "key" else "password": "sesame"}} if missing != "secret" else {}
    claims = {"volume": tmp_path / "none" if missing == "folder" else tmp_path} if missing != "claim" else {}
    with pytest.raises(NeverStarts, match="surroundings: "):
        ran(steps, secrets=secrets, claims=claims)


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


@pytest.mark.parametrize(("text", "error"), [("", "No such file"), ("many", "invalid literal")])
def test_an_output_that_is_missing_or_of_another_type_fails_its_step(ran, text, error):
    run = ran(alone(count, text=text))
    assert run.phase == FAILED and error in run.log("count") and run.tries_of("count")[0].code == 0


def test_an_argument_that_has_no_value_stays_text_before_2_17_which_refuses_it(ran):
    def withhold(pipeline, *platform):
        component = pipeline["components"]["comp-say"]["inputDefinitions"]["parameters"]["text"]
        component["isOptional"] = True
        del pipeline["root"]["dag"]["tasks"]["say"]["inputs"]

    run = ran(alone(say, text="x"), changed=withhold, release=KFP_2_14)
    assert said(run, "say") == "{{$.inputs.parameters['text']}}"
    run = ran(alone(say, text="x"), changed=withhold, release=KFP_2_17)
    assert run.phase == FAILED and "not found in executor input" in run.messages["root/say-driver"]


def test_an_argument_is_at_most_128_kib_long_and_so_is_a_whole_step(ran):
    run = ran(alone(say, text="x" * 131_000))
    assert run.phase == FAILED and "argument list too long" in run.messages["root/say-driver"]
    assert run.phase_of("say") == OMITTED and run.tries == {}


def test_parameters_are_declared_and_of_their_type(ran):
    def steps(text: str, number: int = 2):
        quiet(say(text=text))
        quiet(double(number=number))

    run = ran(steps, given={"text": "hello"})
    assert (said(run, "say"), said(run, "double")) == ("hello", "4")
    for given in ({}, {"text": 5}, {"text": "x", "another": 1}):
        with pytest.raises(Refused, match="parameter"):
            ran(steps, given=given)


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


@pytest.mark.parametrize("release", [KFP_2_5, KFP_2_14])
def test_a_field_that_the_server_does_not_know_is_refused(ran, release):
    def steps():
        kubernetes.use_secret_as_env(quiet(surroundings()), "mysql", {"password": "PASSWORD"})

    def with_end(pipeline, platform):
        platform["platforms"]["kubernetes"]["pipelineConfig"] = {"activeDeadlineSeconds": 60}

    with pytest.raises(Refused, match="PipelineConfig must have fields that KFP knows"):
        ran(steps, changed=with_end, release=release)


def test_all_that_a_pod_started_ends_with_it(ran, tmp_path):
    @dsl.container_component
    def leave(mark: str):
        return dsl.ContainerSpec(image="i", command=["sh", "-c", '(sleep 1; touch "$0") &'], args=[mark])

    run = ran(alone(leave, mark=str(tmp_path / "mark")))
    time.sleep(1.3)
    assert run.phase == SUCCEEDED and not (tmp_path / "mark").exists()


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


def test_no_part_of_it_is_the_other_stand_ins():
    for file in Path(__file__).with_name("kfp_driver").glob("*.py"):
        assert "tests.pipeline" not in file.read_text() and "pipeline.runners" not in file.read_text()
