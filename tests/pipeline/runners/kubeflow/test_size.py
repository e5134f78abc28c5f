"""How large a compiled pipeline becomes on a cluster."""

import random
import string
from pathlib import Path

import pytest
import yaml

from pipeline.runners.kubeflow.limits import ARGUMENT, KEPT, WORKFLOW
from pipeline.runners.kubeflow.size import Sizes, go_json, sizes
from tests.pipeline.runners.kubeflow.small import group, pipeline, step

RETRY = {"maxRetryCount": 2, "backoffDuration": "10s", "backoffFactor": 2, "backoffMaxDuration": "3600s"}


def letters(number: int, seed: int) -> str:
    return "".join(random.Random(seed).choices(string.ascii_letters + string.digits, k=number))


@pytest.fixture
def measured(tmp_path):
    def measured(tasks: dict, **settings) -> Sizes:
        file: Path = pipeline(tmp_path / "small.yaml", tasks)
        spec, *platform = yaml.safe_load_all(file.read_text())
        return sizes(spec, platform[0] if platform else {}, **settings)

    return measured


def many(number: int, size: int, **about) -> dict:
    return {f"step-{i:03d}": {**step("true", letters(size, i)), **about} for i in range(number)}


def test_an_argument_is_once_in_the_workflow_and_in_the_status_once_for_each_node_that_hands_it_on(measured):
    """A driver's inputs and its output, the step's DAG, and its try; one more where there may be more than one try; and
    of every template one more where the cluster tries all of them again."""
    for about, settings, times in (
        ({}, {}, 4),
        ({"retry": RETRY}, {}, 5),
        ({"retry": RETRY}, {"retried": True}, 8),
    ):
        small, large = (measured(many(1, size, **about), **settings) for size in (1_000, 21_000))
        assert large.workflow - small.workflow == 20_000
        assert large.status - small.status == times * 20_000
        assert large.argument - small.argument == 20_000


def test_a_container_that_steps_share_is_once_in_the_workflow(measured):
    task = step("true", letters(20_000, 0), kubernetes={"imagePullPolicy": "Always"})
    same = {f"step-{i}": {**task, "command": ["sh", "-c", "true"]} for i in range(4)}
    different = {name: {**same[name], "arguments": [letters(20_000, i)]} for i, name in enumerate(same)}
    assert measured(different).workflow - measured(same).workflow == pytest.approx(60_000, rel=0.02)
    assert measured(different).status == measured(same).status


def test_what_compresses_badly_ends_the_run_where_one_step_more_is_too_many(measured):
    """Argo keeps what repeats within a step too far apart to be found again."""
    sizes_of = {number: measured(many(number, 3_000, retry=RETRY)) for number in (20, 40, 80)}
    kept = [each.kept for each in sizes_of.values()]
    assert kept == sorted(kept) and kept[2] - kept[1] == pytest.approx(2 * (kept[1] - kept[0]), rel=0.05)
    assert 0.3 < sizes_of[80].compressed / sizes_of[80].status < 0.8
    assert sizes_of[40].kept < KEPT < sizes_of[80].kept < WORKFLOW


def test_a_groups_tasks_are_one_argument_of_its_driver(measured):
    inside = {name: {**task, "inputs": {"text": ("STRING", letters(1_000, 7))}} for name, task in many(150, 10).items()}
    spread = measured({name: group({name + "-a": task}) for name, task in inside.items()})
    together = measured({"run": group(inside)})
    assert together.argument > ARGUMENT > spread.argument


def test_the_json_is_gos():
    assert go_json({"b": "<a> & ü", "a": [1, 2.5]}) == '{"a":[1,2.5],"b":"\\u003ca\\u003e \\u0026 ü"}'
