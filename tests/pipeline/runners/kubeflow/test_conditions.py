"""Conditions as the driver of Kubeflow decides on them."""

import pytest

from tests.pipeline.runners.kubeflow.conditions import CannotEvaluate, holds

INPUTS = {"text": "true", "name": "a && b", "count": 3.0, "half": 0.5, "on": True}


def of(name: str) -> str:
    return f"inputs.parameter_values['{name}']"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (f"{of('text')} == 'true'", True),
        (f"{of('text')} != 'true'", False),
        (f"!({of('text')} == 'true')", False),
        (f"{of('on')} == true", True),
        (f"int({of('count')}) >= 3", True),
        (f"{of('half')} < 1.5", True),
        (f"double(int({of('count')})) > {of('half')}", True),
        (f"{of('name')} == 'a && b'", True),
        (f"{of('text')} == 'true' && int({of('count')}) < 3", False),
        (f"{of('on')} == 'true'", False),  # a boolean is never a text
        (f"{of('on')} != 'true'", True),
    ],
)
def test_a_condition_compares_values_of_one_type(condition, expected):
    assert holds(condition, INPUTS) is expected


@pytest.mark.parametrize("condition", [f"{of('other')} == 'true'", f"{of('text')} < 3", f"int({of('text')}) == 3"])
def test_a_condition_without_a_value_is_the_drivers_error(condition):
    with pytest.raises(CannotEvaluate, match="evaluation error"):
        holds(condition, INPUTS)


@pytest.mark.parametrize("condition", ["true", f"size({of('text')}) == 4", f"{of('text')} == 'true' || true", "''"])
def test_a_condition_that_the_sdk_does_not_write_is_refused_aloud(condition):
    with pytest.raises(NotImplementedError, match="knows no condition"):
        holds(condition, INPUTS)
