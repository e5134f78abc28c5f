"""What is observed of a variant, before any judgement."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from components.gates.core import Paired
from components.gates.measurement import (
    against,
    agreement,
    by_slice,
    calibration_error,
    confusion,
    paired,
    predictions,
    score_margin,
)
from components.gates.scoring.table import Table

LABELS = np.array([0, 0, 1, 1, 2, 2])
PARENT = np.array([0, 1, 1, 1, 2, 0])
VARIANT = np.array([0, 0, 1, 2, 0, -1])
TABLE = Table(
    labels=LABELS,
    slices={"light": np.array(["day", "day", "day", "night", "night", "night"])},
    predictions={"parent": PARENT, "variant:int8": VARIANT, "serving": LABELS},
    scores={
        "parent": np.eye(4, dtype=np.float32)[PARENT],
        "variant:int8": 2 * np.eye(4, dtype=np.float32)[np.maximum(VARIANT, 0)],
    },
    duplicates=0,
    digests=np.array([], dtype=str),
)


def test_confusion_has_a_row_a_label_and_a_column_a_prediction():
    found = confusion(LABELS, PARENT, 4)
    assert found.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]


def test_pairs_are_counted_by_who_is_right():
    assert paired(LABELS, PARENT, VARIANT) == Paired(both=2, parent_only=2, variant_only=1, neither=1)
    assert paired(LABELS, VARIANT, PARENT) == Paired(both=2, parent_only=1, variant_only=2, neither=1)
    assert against(TABLE, "serving", "int8") == Paired(both=3, parent_only=3, variant_only=0, neither=0)


def test_slices_are_counted_apart_and_a_class_without_examples_has_zeros():
    assert by_slice(TABLE, "int8", ("a", "b", "c", "d")) == {
        "class a": Paired(both=1, parent_only=0, variant_only=1, neither=0),
        "class b": Paired(both=1, parent_only=1, variant_only=0, neither=0),
        "class c": Paired(both=0, parent_only=1, variant_only=0, neither=1),
        "class d": Paired(both=0, parent_only=0, variant_only=0, neither=0),
        "light=day": Paired(both=2, parent_only=0, variant_only=1, neither=0),
        "light=night": Paired(both=0, parent_only=2, variant_only=0, neither=1),
    }


def test_a_named_feature_without_any_example_is_a_slice_without_examples():
    empty = dataclasses.replace(
        TABLE,
        labels=LABELS[:0],
        slices={"light": np.array([], str)},
        predictions={name: p[:0] for name, p in TABLE.predictions.items()},
    )
    assert by_slice(empty, "int8", ("a",))["light="].total == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_score_that_is_not_finite_is_never_right(bad, column):
    scores = np.array([[0.1, 0.7, 0.2], [0.1, 0.7, 0.2]], np.float32)
    scores[1, column] = bad
    assert predictions(scores).tolist() == [1, -1]
    assert paired(np.array([1, 1]), predictions(scores), predictions(scores)).both == 1
    assert math.isnan(score_margin(scores))


def test_agreement_is_with_the_parent():
    seen = agreement(TABLE, "int8")
    assert (seen.flips, seen.total) == (4, 6)
    assert seen.margin_factor == 2.0
    assert seen.calibration == calibration_error(TABLE.scores["variant:int8"], LABELS)
    assert seen.parent_calibration == calibration_error(TABLE.scores["parent"], LABELS)


def calibration_by_hand(scores, labels) -> float:
    """The same, bin by bin, with scipy's softmax."""
    probabilities = softmax(scores.astype(np.float64), axis=1)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    total = 0.0
    for i in range(15):
        inside = (confidence >= i / 15) & ((confidence < (i + 1) / 15) | (i == 14))
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


def test_the_calibration_error_is_that_of_its_definition():
    random = np.random.default_rng(1)
    scores, labels = 3 * random.normal(size=(500, 4)).astype(np.float32), random.integers(0, 4, 500)
    assert calibration_error(scores, labels) == pytest.approx(calibration_by_hand(scores, labels))


def test_perfect_and_hopeless_answers_have_the_errors_that_they_must():
    sure = 100 * np.eye(3, dtype=np.float32)[[0, 1, 2]]
    assert calibration_error(sure, np.array([0, 1, 2])) == pytest.approx(0)
    assert calibration_error(sure, np.array([1, 2, 0])) == pytest.approx(1)
    assert calibration_error(np.full((3, 3), np.nan, np.float32), np.array([0, 1, 2])) == 1
    assert math.isnan(calibration_error(np.zeros((0, 3), np.float32), np.zeros(0, int)))


def test_scores_that_never_differ_have_no_margin_to_compare_with():
    flat = dataclasses.replace(TABLE, scores={name: np.ones((6, 4), np.float32) for name in TABLE.scores})
    assert math.isnan(agreement(flat, "int8").margin_factor)


@given(st.permutations(range(6)))
def test_the_order_of_examples_does_not_matter(order):
    shuffled = dataclasses.replace(
        TABLE,
        labels=LABELS[order],
        slices={name: values[order] for name, values in TABLE.slices.items()},
        predictions={name: p[order] for name, p in TABLE.predictions.items()},
        scores={name: s[order] for name, s in TABLE.scores.items()},
    )
    classes = ("a", "b", "c", "d")
    assert by_slice(shuffled, "int8", classes) == by_slice(TABLE, "int8", classes)
    was, now = (dataclasses.asdict(agreement(t, "int8")) for t in (TABLE, shuffled))
    assert now == pytest.approx(was)
