"""Which earlier model the parent is compared with."""

import pytest

from components.common.tfx_nodes import standard_artifacts
from components.gates.baseline import EarlierBlessedModel


def model(number: int):
    made = standard_artifacts.Model()
    made.id = number
    return made


def blessing(number: int, of: int, blessed: int = 1):
    made = standard_artifacts.ModelBlessing()
    made.id = number
    made.set_int_custom_property("blessed", blessed)
    made.set_int_custom_property("current_model_id", of)
    return made


def resolve(candidate: int, models: list[int], blessings: list):
    inputs = {"candidate": [model(candidate)], "model": [model(m) for m in models], "model_blessing": blessings}
    found = EarlierBlessedModel().resolve_artifacts(None, inputs)
    assert [a.id for a in found["candidate"]] == [candidate]
    return [a.id for a in found["model"]], [a.id for a in found["model_blessing"]]


@pytest.mark.parametrize("order", [1, -1])
def test_the_latest_blessed_model_before_the_candidate_comes_with_its_own_blessing(order):
    blessings = [blessing(50, of=1), blessing(51, of=3), blessing(52, of=5)][::order]
    assert resolve(5, [1, 2, 3, 4, 5][::order], blessings) == ([3], [51])


def test_the_candidate_itself_and_what_is_newer_do_not_count():
    assert resolve(5, [5, 6], [blessing(50, of=5), blessing(51, of=6)]) == ([], [])


def test_a_model_that_was_not_blessed_does_not_count():
    assert resolve(5, [3, 4], [blessing(50, of=3), blessing(51, of=4, blessed=0)]) == ([3], [50])


def test_the_first_run_has_none():
    assert resolve(1, [1], []) == ([], [])


def test_the_properties_are_those_that_tfxs_evaluator_sets():
    from tfx.components.evaluator import constants

    from components.gates import baseline

    assert constants.ARTIFACT_PROPERTY_BLESSED_KEY == baseline._BLESSED
    assert constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY == baseline._CURRENT
    assert constants.BLESSED_VALUE == 1
