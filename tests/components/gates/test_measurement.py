"""What is observed of a variant, before any judgement."""

import numpy as np
import pytest

from components.common.examples import Split
from components.gates.core import Paired
from components.gates.measurement import by_class, confusion, paired, predictions

LABELS = np.array([0, 0, 1, 1, 2, 2])
PARENT = np.array([0, 1, 1, 1, 2, 0])
VARIANT = np.array([0, 0, 1, 2, 0, -1])


def test_confusion_has_a_row_a_label_and_a_column_a_prediction():
    found = confusion(LABELS, PARENT, 4)
    assert found.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]


def test_pairs_are_counted_by_who_is_right():
    assert paired(LABELS, PARENT, VARIANT) == Paired(both=2, parent_only=2, variant_only=1, neither=1)
    assert paired(LABELS, VARIANT, PARENT) == Paired(both=2, parent_only=1, variant_only=2, neither=1)


def test_classes_are_counted_apart_and_one_without_examples_has_zeros():
    holdout = Split(images=np.zeros((6, 1, 1, 1), np.uint8), labels=LABELS)
    found = by_class(holdout, PARENT, VARIANT, ("a", "b", "c", "d"))
    assert found == {
        "a": Paired(both=1, parent_only=0, variant_only=1, neither=0),
        "b": Paired(both=1, parent_only=1, variant_only=0, neither=0),
        "c": Paired(both=0, parent_only=1, variant_only=0, neither=1),
        "d": Paired(both=0, parent_only=0, variant_only=0, neither=0),
    }


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_score_that_is_not_finite_is_never_right(bad, column):
    scores = np.array([[0.1, 0.7, 0.2], [0.1, 0.7, 0.2]], np.float32)
    scores[1, column] = bad
    assert predictions(scores).tolist() == [1, -1]
    assert paired(np.array([1, 1]), predictions(scores), predictions(scores)).both == 1
