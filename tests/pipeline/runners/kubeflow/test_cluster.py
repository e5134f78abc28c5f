"""The stand-in for Kubeflow Pipelines: what it fills in, runs, skips and refuses."""

import json
import random

import pytest
import yaml

from pipeline.runners.kubeflow.node import _parser
from tests.e2e.conftest import PROJECT
from tests.pipeline.runners.kubeflow.cluster import FAILED, OMITTED, SKIPPED, SUCCEEDED, Cluster, Refused, Run
from tests.pipeline.runners.kubeflow.placeholders import ARGUMENT, CONSTANT, PART, POD, TABLE
from tests.pipeline.runners.kubeflow.releases import OLDEST, RELEASES
from tests.pipeline.runners.kubeflow.small import group, input_of, output, output_of, pipeline, step, value

SAY = 'for each; do echo "[$each]"; done'
UUID = "{{$.pipeline_job_uuid}}"
KNOWN = [name for name in RELEASES if RELEASES[name].since(OLDEST)]


@pytest.fixture
def run(tmp_path):
    """Runs tasks by name."""

    def run(tasks: dict, parameters: dict | None = None, given: dict | None = None, **settings) -> Run:
        file = pipeline(tmp_path / "small.yaml", tasks, parameters)
        return Cluster(folder=tmp_path / "steps", **settings).run(file, **(given or {}))

    return run


def printed(run: Run, name: str = "say") -> list[str]:
    assert run.state == SUCCEEDED, run.log()
    return [line[1:-1] for line in run.steps[name].log.splitlines()]


@pytest.mark.parametrize("release", RELEASES)
def test_a_pipeline_whose_steps_have_the_runs_id_in_their_arguments_fails_as_on_a_cluster(run, release):
    """So were files compiled before the run's id was an input."""
    script, needed = PROJECT / "kubeflow" / "run_node.py", {}
    for action in _parser()._actions:
        needed |= {action.option_strings[-1]: "x"} if action.required else {}
    arguments = [word for pair in (needed | {"--run": UUID}).items() for word in pair]
    old = run({"node": {**step("", *arguments), "command": ["python", str(script)]}}, release=release)
    assert (old.state, old.steps["node"].tries) == (FAILED, [2])
    (line,) = old.steps["node"].log.splitlines()
    assert line.startswith("lockgate: Kubeflow Pipelines must fill in the run's id") and line.endswith(UUID)


@pytest.mark.parametrize("release", KNOWN)
def test_the_runs_id_is_a_task_inputs_whole_constant(run, release):
    inputs = {"run": ("STRING", UUID), "part": ("STRING", f"run {UUID}"), "escaped": ("STRING", "{{$.json_escape[1]}}")}
    ended = run({"say": step(SAY, value("run"), value("part"), value("escaped"), UUID, inputs=inputs)}, release=release)
    assert printed(ended) == [ended.id, f"run {UUID}", "{{$.json_escape[1]}}", UUID]


def test_before_2_5_the_runs_id_is_filled_in_nowhere(run):
    tasks = {"say": step(SAY, value("run"), inputs={"run": ("STRING", UUID)})}
    assert printed(run(tasks, release="2.4.1")) == [UUID]


def test_the_table_names_every_placeholder_that_is_filled_in_and_no_other(run):
    constants = [row.text for row in TABLE if row.place in (CONSTANT, PART)]
    inputs = {f"p{i}": ("STRING", text) for i, text in enumerate(constants)}
    arguments = [
        row.text.replace("NAME", "p0") for row in TABLE if row.place == ARGUMENT and ".outputs" not in row.text
    ]
    outputs = [row.text.replace("NAME", "made") for row in TABLE if row.place == ARGUMENT and ".outputs" in row.text]
    task = step(
        f'{SAY}; echo x > "$1"',
        *outputs,
        *arguments,
        *(value(name) for name in inputs),
        "{{$.inputs.parameters}}",
        inputs=inputs,
        outputs={"made": "STRING"},
        artifacts=["made"],
    )
    for release in KNOWN:
        words = printed(run({"say": task}, release=release))
        left = [row.text for row in TABLE if row.place in (CONSTANT, PART) and not RELEASES[release].since(row.since)]
        assert [word for word in words if word.startswith("{{")] == [*left, "{{$.inputs.parameters}}"]
    assert len(TABLE) == 15 and {row.place for row in TABLE} == {CONSTANT, PART, ARGUMENT, POD}


def test_the_first_word_of_a_command_knows_no_input_since_2_14(run):
    task = {**step("", inputs={"shell": ("STRING", "sh")}), "command": [value("shell"), "-c", "true"]}
    tried = {name: run({"say": task}, release=name).state for name in KNOWN}
    assert tried == {"2.5.0": SUCCEEDED, "2.14.4": FAILED, "2.15.0": FAILED, "2.16.1": FAILED, "2.17.0": SUCCEEDED}


def test_what_a_step_is_told_of_its_outputs_is_where_they_are_read(run):
    tell = 'echo "$1"; printf 7 > "$2"; printf page > "$3"'
    telling = step(tell, "{{$}}", output("count"), "{{$.outputs.artifacts['page'].path}}")
    ended = run({"say": {**telling, "outputs": {"count": "NUMBER_INTEGER"}, "artifacts": ["page"]}})
    executor_input = json.loads(ended.steps["say"].log)
    assert ended.steps["say"].outputs == {"count": 7}
    assert ended.steps["say"].artifacts["page"].read_text() == "page"
    assert executor_input["outputs"]["artifacts"]["page"]["artifacts"][0]["uri"].startswith("minio://")


def test_an_output_that_was_not_written_or_is_of_another_type_fails_its_step(run):
    for script in ("true", 'echo many > "$1"', 'echo 2.5 > "$1"'):
        ended = run({"say": step(script, output("count"), outputs={"count": "NUMBER_INTEGER"})})
        assert ended.state == FAILED and ended.steps["say"].tries == [1]
        assert "failed to read output parameter name=count" in ended.steps["say"].log


def test_numbers_booleans_and_lists_are_text_as_go_writes_them(run):
    given = {"whole": 3, "small": -1e-05, "large": 1e21, "half": 0.5, "yes": True, "list": [1, 2.5, "<a>"]}
    kinds = {"yes": "BOOLEAN", "list": "LIST"}
    parameters = {name: {"parameterType": kinds.get(name, "NUMBER_DOUBLE")} for name in given}
    inputs = {name: (about["parameterType"], input_of(name)) for name, about in parameters.items()}
    tasks = {"say": step(SAY, *(value(name) for name in given), inputs=inputs)}
    words = ["3", "-0.00001", "1" + 21 * "0", "0.5", "true", '[1,2.5,"\\u003ca\\u003e"]']
    assert printed(run(tasks, parameters, given)) == words
    assert printed(run(tasks, parameters, given, release="2.17.0")) == [words[0], "-1e-05", *words[2:]]


def test_a_value_of_another_type_is_refused_by_the_server_or_by_the_tasks_driver(run):
    parameters = {"count": {"parameterType": "NUMBER_INTEGER"}}
    reading = {"say": step(SAY, value("count"), inputs={"count": ("NUMBER_INTEGER", input_of("count"))})}
    with pytest.raises(Refused, match="requires type NUMBER_INTEGER. Received: 'many'"):
        run(reading, parameters, {"count": "many"})
    with pytest.raises(Refused, match="neither default value nor user provided"):
        run(reading, parameters)
    with pytest.raises(Refused, match="not required by pipeline: other"):
        run(reading, parameters, {"count": 1, "other": 1})
    assert printed(run(reading, parameters, {"count": 2.5})) == ["2.5"]  # nobody looks whether it is whole

    wrong = run({"say": step(SAY, value("on"), inputs={"on": ("BOOLEAN", "true")})})
    assert wrong.state == FAILED and wrong.states == {"say-driver": FAILED, "say": OMITTED} and not wrong.steps
    assert 'input parameter "on" type mismatch: expect BOOLEAN' in wrong.drivers["say"]
    assert printed(run({"say": step(SAY, value("on"), inputs={"on": ("STRING", True)})})) == ["true"]


def test_an_input_that_is_not_there_is_the_drivers_error_and_a_default_is_the_launchers(run):
    missing = run({"say": step(SAY, value("text"), inputs={"text": ("STRING", None)})})
    assert "neither value nor default value provided" in missing.drivers["say"]
    optional = step(SAY, value("text"), inputs={"text": ("STRING", None)}, optional=["text"], defaults={"text": "here"})
    assert printed(run({"say": optional})) == ["here"]
    newest = run(
        {"say": optional}, release="2.17.0"
    )  # whose driver fills in arguments before the launcher has defaults
    assert newest.state == FAILED and 'parameter "text" not found in executor input' in newest.steps["say"].log


def test_kubernetes_expands_its_own_references_in_arguments_but_not_in_what_the_launcher_fills_in(run):
    container = {"env": [{"name": "PLACE", "value": "here"}]}
    task = step(SAY, "$(PLACE)", "$(OTHER)", "$$(PLACE)", "$HOME", value("text"), container=container)
    tasks = {"say": {**task, "inputs": {"text": ("STRING", "$(PLACE)")}}}
    words = ["here", "$(OTHER)", "$(PLACE)", "$HOME"]
    assert printed(run(tasks)) == [*words, "$(PLACE)"]
    assert printed(run(tasks, release="2.17.0")) == [*words, "here"]


def test_a_task_runs_when_all_before_it_have_succeeded_and_a_failure_is_its_branchs(run):
    tasks = {
        "first": step("true"),
        "bad": step("exit 3", after=["first"]),
        "never": step("true", after=["bad", "good"]),
        "good": step("true", after=["first"]),
        "last": step("true", after=["never"]),
    }
    ended = run(tasks)
    expected = {"first": SUCCEEDED, "bad": FAILED, "good": SUCCEEDED, "never": OMITTED, "last": OMITTED}
    assert ended.state == FAILED and ended.states == expected and set(ended.steps) == {"first", "bad", "good"}


def test_a_condition_skips_its_task_and_what_is_after_it_is_omitted(run):
    answer = step('printf "$2" > "$1"', output("idle"), value("idle"), outputs={"idle": "STRING"})
    parameters = {"idle": {"parameterType": "STRING"}}
    condition = "inputs.parameter_values['idle'] == 'false'"
    tasks = {
        "first": {**answer, "inputs": {"idle": ("STRING", input_of("idle"))}},
        "run": group(
            {"inside": step("true")}, inputs={"idle": ("STRING", output_of("first", "idle"))}, condition=condition
        ),
        "after": step("true", after=["run"]),
        "report": step("true", after=["run"], exit=True),
    }
    idle = run(tasks, parameters, {"idle": "true"})
    assert idle.state == SUCCEEDED and set(idle.steps) == {"first"} and idle.hooks == []
    assert idle.states == {"first": SUCCEEDED, "run": SKIPPED, "after": OMITTED}
    due = run(tasks, parameters, {"idle": "false"})
    assert due.state == SUCCEEDED and set(due.steps) == {"first", "inside", "after", "report"}


def test_an_exit_task_runs_once_what_it_depends_on_has_completed_and_not_where_that_was_omitted(run):
    report = step("true", after=["run"], exit=True)
    ended = run({"run": group({"bad": step("exit 1")}), "report": report})
    assert ended.state == FAILED and ended.states == {"bad": FAILED, "run": FAILED, "report": SUCCEEDED}
    ended = run({"first": step("exit 1"), "run": group({"inside": step("true")}, after=["first"]), "report": report})
    assert ended.state == FAILED and ended.states == {"first": FAILED, "run": OMITTED}
    unresolved = group({"inside": step("true")}, inputs={"run": ("BOOLEAN", "no")})
    ended = run({"run": unresolved, "report": report})
    assert ended.state == FAILED and ended.states == {"run-driver": FAILED, "run": OMITTED}


def test_an_exit_task_hangs_on_each_task_it_depends_on_and_its_failure_is_not_the_runs(run):
    tasks = {"a": step("true"), "b": step("true"), "report": step("exit 1", after=["a", "b"], exit=True)}
    ended = run(tasks)
    assert ended.hooks == ["report", "report"] and ended.state == SUCCEEDED and ended.states["report"] == FAILED


def test_an_exit_task_can_take_a_parameter_of_the_run_and_how_it_ended(run):
    inputs = {"name": ("STRING", input_of("name")), "status": ("STRUCT", {"taskFinalStatus": {"producerTask": "run"}})}
    tasks = {
        "run": group({"bad": step("exit 1")}),
        "report": step(SAY, value("name"), value("status"), inputs=inputs, after=["run"], exit=True),
    }
    ended = run(tasks, {"name": {"parameterType": "STRING"}}, {"name": "x"})
    name, status = [line[1:-1] for line in ended.steps["report"].log.splitlines()]
    assert name == "x" and json.loads(status)["state"] == "FAILED"


def test_a_group_hands_on_its_inputs_and_its_outputs(run):
    making = step('printf "$2" > "$1"', output("made"), value("text"), outputs={"made": "STRING"})
    inside = {"make": {**making, "inputs": {"text": ("STRING", input_of("text"))}}}
    source = {"valueFromParameter": {"producerSubtask": "make", "outputParameterKey": "made"}}
    tasks = {
        "group": group(inside, inputs={"text": ("STRING", "here")}, dag_outputs={"parameters": {"made": source}}),
        "say": step(SAY, value("text"), inputs={"text": ("STRING", output_of("group", "made"))}),
    }
    assert printed(run(tasks)) == ["here"]


def test_an_argument_that_linux_does_not_take_fails_where_it_is_too_long(run):
    fits, large = "x" * 100_000, "x" * 131_072
    assert run({"say": step("true", fits)}).state == SUCCEEDED
    ended = run({"say": step("true", large)})  # of the driver, whose argument the whole container is
    assert "argument list too long: --container" in ended.drivers["say"] and ended.states["say"] == OMITTED
    joined = step("true", value("text") + value("text"), inputs={"text": ("STRING", fits)})
    ended = run({"say": joined})
    assert ended.state == FAILED and "Argument list too long" in ended.steps["say"].log
    many = {f"step-{i}": step("true", inputs={"text": ("STRING", fits)}) for i in range(2)}
    ended = run({"run": group(many)})  # of the group's driver, whose argument all of its tasks are
    assert "argument list too long: --component" in ended.drivers["run"]


def test_a_pipeline_that_is_too_large_is_refused(run):
    many = {f"step-{i:03d}": step("true", random.Random(i).randbytes(8_000).hex()) for i in range(120)}
    with pytest.raises(Refused, match="etcdserver: request is too large"):
        run(many)
    half = dict(list(many.items())[:40])
    with pytest.raises(Refused, match="workflow is longer than maximum allowed size"):
        run(half)


def test_a_setting_of_the_whole_pipeline_that_a_release_does_not_know_is_refused(tmp_path):
    file = pipeline(tmp_path / "small.yaml", {"say": step("true", kubernetes={"imagePullPolicy": "Always"})})
    spec, platform = yaml.safe_load_all(file.read_text())
    platform["platforms"]["kubernetes"]["pipelineConfig"] = {"activeDeadlineSeconds": 60}
    file.write_text(yaml.safe_dump_all([spec, platform]))
    with pytest.raises(Refused, match="unknown field pipelineConfig"):
        Cluster(folder=tmp_path, release="2.16.1").run(file)
    with pytest.raises(AssertionError, match="is not known here"):
        Cluster(folder=tmp_path, release="2.17.0").run(file)


def test_what_this_stand_in_does_not_know_is_refused(run):
    with pytest.raises(AssertionError, match="must leave the cache to TFX"):
        run({"say": step("true", cached=True)})
    same = {"a": step("true", outputs={"made": "STRING"}), "b": step("true")}
    same["b"]["command"] = same["a"]["command"] = ["sh", "-c", "true"]
    with pytest.raises(AssertionError, match="another component has the same container"):
        run(same)
    assert run({"a": same["b"], "b": same["b"]}).state == SUCCEEDED
