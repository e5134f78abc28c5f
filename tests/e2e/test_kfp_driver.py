"""The driver that stands in for Kubeflow is as strict as KFP: steps of a shell show what it fills in and gives them."""

import time
from functools import partial
from pathlib import Path

import pytest
from kfp import dsl, kubernetes

from tests.e2e.kfp_driver.controller import FAILED, OMITTED, SUCCEEDED
from tests.e2e.kfp_driver.pod import NeverStarts
from tests.e2e.kfp_driver.spec import KFP_2_5, KFP_2_14, KFP_2_17, Refused
from tests.e2e.kfp_driver.steps import (
    alone,
    count,
    double,
    placeholder_in_an_argument,
    quiet,
    run_steps,
    said,
    say,
    surroundings,
)


@pytest.fixture
def ran(tmp_path):
    """Compiles a pipeline and runs it."""
    return partial(run_steps, tmp_path)


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
    own = {"HOME", "TMPDIR", "KFP_POD_NAME", "KFP_POD_UID"}
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


def test_no_part_of_it_is_the_other_stand_ins():
    for file in Path(__file__).with_name("kfp_driver").glob("*.py"):
        assert "tests.pipeline" not in file.read_text() and "pipeline.runners" not in file.read_text()


def test_a_step_with_kfps_cache_is_refused_because_this_driver_has_none(ran):
    def steps():
        say(text="x")

    with pytest.raises(Refused, match="cache"):
        ran(steps)
