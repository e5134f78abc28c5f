"""Measuring a variant on `holdout`, against the parent it came from. No judgement here."""

import numpy as np

from components.common.examples import Split
from components.gates.core import Paired


def confusion(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Counts, int64 [classes, classes]: rows are true labels, columns predictions."""
    return np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes)


def paired(labels: np.ndarray, parent: np.ndarray, variant: np.ndarray) -> Paired:
    """Pairs the predictions (int64 [n] each) of two models on the same examples. NaN scores must come as -1."""
    right, kept = parent == labels, variant == labels
    return Paired(
        both=int(np.sum(right & kept)),
        parent_only=int(np.sum(right & ~kept)),
        variant_only=int(np.sum(~right & kept)),
        neither=int(np.sum(~right & ~kept)),
    )


def predictions(scores: np.ndarray) -> np.ndarray:
    """The class of the largest score, int64 [n]; -1, which is never right, where a score is not finite."""
    return np.where(np.all(np.isfinite(scores), axis=1), np.argmax(scores, axis=1), -1)


def by_class(holdout: Split, parent: np.ndarray, variant: np.ndarray, names: tuple[str, ...]) -> dict[str, Paired]:
    """The paired counts of every class, by its name; a class without examples has counts of zero."""
    found = {}
    for label, name in enumerate(names):
        chosen = holdout.labels == label
        found[name] = paired(holdout.labels[chosen], parent[chosen], variant[chosen])
    return found
