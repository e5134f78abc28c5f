"""The compression benchmark: its bounds, its means, and which lines it has."""

import json

import pytest

from benchmarks.compression import BASELINE, merged, missed_bounds
from benchmarks.compression_lines import LINES
from benchmarks.compression_models import BUILD, TRAINERS
from benchmarks.tfmot_guide import GUIDES

BOUNDS = {"at_most": {"drop": 0.002, "distinct": 8}, "at_least": {"zeros": 0.5}}
GOOD = {"drop": 0.002, "distinct": 8, "zeros": 0.5}


@pytest.mark.parametrize(
    ("worse", "missed"),
    [
        ({}, []),
        ({"drop": -0.1, "distinct": 2, "zeros": 0.9}, []),
        ({"drop": 0.0021}, ["m/a: drop"]),
        ({"zeros": 0.49, "distinct": 9}, ["m/a: distinct", "m/a: zeros"]),
        ({"drop": float("nan"), "zeros": float("nan")}, ["m/a: drop", "m/a: zeros"]),
    ],
)
def test_a_figure_on_the_wrong_side_of_its_bound_is_missed(worse, missed):
    assert missed_bounds({"m/a": {"ours": {**GOOD, **worse}}}, {"m/a": BOUNDS, "m/not-run": BOUNDS}) == missed


def test_drops_are_means_over_seeds_and_what_a_file_must_hold_is_the_worst():
    runs = [
        {"drop": 0.01, "zeros": 0.5, "distinct": 8, "drop_interval": [0, 1]},
        {"drop": 0.03, "zeros": 0.4, "distinct": 9, "drop_interval": [0, 1]},
    ]
    made = merged(runs)
    assert made.pop("drop") == pytest.approx(0.02)
    assert made == {"zeros": 0.4, "distinct": 9, "runs": runs}


def test_every_bound_is_of_a_line_and_every_line_of_a_model_and_a_guide_that_is_there():
    assert set(json.loads(BASELINE.read_text())["bounds"]) <= set(LINES)
    assert set(BUILD) == set(TRAINERS) == {line.model for line in LINES.values()}
    assert {line.guide for line in LINES.values()} <= {None, *GUIDES}
    assert all(LINES[f"{model}/qat"].seeds == 3 for model in BUILD)


def test_nothing_is_augmented():
    tunings = [stage.public for line in LINES.values() for stage in line.stages] + list(TRAINERS.values())
    assert not any(tuning.augmentations for tuning in tunings if tuning)
