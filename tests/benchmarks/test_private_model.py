"""The private model's benchmark: its bounds, and how it names what it keeps."""

import dataclasses

import pytest

from benchmarks.private_model import CLUSTER, LINE, _key, missed_bounds

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


def test_other_settings_are_other_files():
    other = dataclasses.replace(CLUSTER, clusters=3)
    assert len({_key(LINE), _key(LINE, CLUSTER), _key(LINE, other)}) == 3
    assert _key(LINE, CLUSTER) == _key(dataclasses.replace(LINE), dataclasses.replace(CLUSTER))
