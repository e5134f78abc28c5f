"""Which models a push is measured against."""

import pytest

from components.common.artifacts import Variant
from components.common.tfx_nodes import standard_artifacts
from components.gates.push.served import ServedModels


def pushed(id: int, sha256: str, accuracy: float = 0.8, pushed: int = 1, withdrawn: int = 0):
    made = standard_artifacts.PushedModel()
    made.id = id
    made.set_string_custom_property("sha256", sha256)
    made.set_float_custom_property("accuracy", accuracy)
    made.set_int_custom_property("pushed", pushed)
    if withdrawn:
        made.set_int_custom_property("withdrawn", 1)
    return made


def variant(sha256: str):
    made = Variant()
    made.set_string_custom_property("sha256", sha256)
    return made


def resolved(*pushes, ours=("new",)) -> tuple[list[int], list[int]]:
    given = {"variants": [variant(s) for s in ours], "serving": list(pushes)[::-1], "best": list(pushes)}
    found = ServedModels().resolve_artifacts(None, given)
    assert found["variants"] == given["variants"]
    return [p.id for p in found["serving"]], [p.id for p in found["best"]]


def test_before_the_first_push_there_is_none():
    assert resolved() == ([], [])
    assert resolved(pushed(1, "a", pushed=0)) == ([], [])


def test_the_latest_serves_and_the_most_accurate_is_best():
    assert resolved(pushed(1, "a", 0.9), pushed(2, "b", 0.85), pushed(3, "c", 0.8)) == ([3], [1])


def test_one_that_is_both_is_measured_once():
    assert resolved(pushed(1, "a", 0.7), pushed(2, "b", 0.8)) == ([2], [])


def test_what_was_rolled_back_is_left_out():
    assert resolved(pushed(1, "a", 0.7), pushed(2, "b", 0.9, withdrawn=1), pushed(3, "a", 0.7)) == ([1], [])


def test_a_second_run_on_the_same_variants_finds_what_the_first_one_found():
    before = pushed(1, "a", 0.9), pushed(2, "b", 0.8)
    assert resolved(*before) == resolved(*before, pushed(3, "new", 0.95)) == ([2], [1])


def test_another_push_of_a_model_changes_nothing():
    assert resolved(pushed(1, "a"), pushed(2, "a"), pushed(3, "a")) == ([1], [])


@pytest.mark.parametrize("ours", [(), ("x", "y")])
def test_a_model_that_came_back_serves(ours):
    assert resolved(pushed(1, "a", 0.7), pushed(2, "b", 0.8), pushed(3, "a", 0.7), ours=ours) == ([1], [2])
