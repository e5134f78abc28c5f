"""The private model's benchmark: its bounds."""

import pytest

from benchmarks.private_model import missed_bounds

BOUNDS = {"accuracy": 0.89, "download_bytes": 20000, "epsilon_pld": 3.0}


@pytest.mark.parametrize(
    ("worse", "missed"),
    [
        ({}, []),
        ({"accuracy": 0.8899}, ["accuracy"]),
        ({"download_bytes": 20001}, ["download_bytes"]),
        ({"epsilon_pld": 3.01, "accuracy": 0.5}, ["accuracy", "epsilon_pld"]),
        ({"accuracy": float("nan"), "epsilon_pld": float("nan")}, ["accuracy", "epsilon_pld"]),
    ],
)
def test_a_figure_on_the_wrong_side_of_its_bound_is_missed(worse, missed):
    assert missed_bounds({**BOUNDS, **worse}, BOUNDS) == missed
