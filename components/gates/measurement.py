"""Measuring a variant on `holdout`, against the parent it came from and what serves. No judgement here."""

import math

import numpy as np

from components.gates.core import Paired
from components.gates.measured import Agreement
from components.gates.scoring.table import PARENT, Table, variant_key

_BINS = 15


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


def by_slice(table: Table, recipe: str, classes: tuple[str, ...]) -> dict[str, Paired]:
    """The paired counts of every class, by "class NAME", and of every value of a named feature, by "feature=value"; a
    class without examples has counts of zero, and so has a named feature without any."""
    parent, variant = table.predictions[PARENT], table.predictions[variant_key(recipe)]
    chosen = {f"class {name}": table.labels == label for label, name in enumerate(classes)}
    for feature, values in table.slices.items():
        found = {f"{feature}={value}": values == value for value in np.unique(values)}
        chosen |= found or {f"{feature}=": np.zeros(len(table.labels), bool)}
    return {name: paired(table.labels[rows], parent[rows], variant[rows]) for name, rows in chosen.items()}


def against(table: Table, other: str, recipe: str) -> Paired:
    """The paired counts of a variant beside any other model of the table, in the parent's place."""
    return paired(table.labels, table.predictions[other], table.predictions[variant_key(recipe)])


def agreement(table: Table, recipe: str) -> Agreement:
    """How the variant's answers stand to its parent's."""
    parent, variant = table.scores[PARENT], table.scores[variant_key(recipe)]
    flipped = table.predictions[PARENT] != table.predictions[variant_key(recipe)]
    return Agreement(
        flips=int(np.sum(flipped | (table.predictions[variant_key(recipe)] < 0))),
        total=len(table.labels),
        calibration=calibration_error(variant, table.labels),
        parent_calibration=calibration_error(parent, table.labels),
        margin_factor=_ratio(score_margin(variant), score_margin(parent)),
    )


def calibration_error(scores: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error of logits, float32 [n, classes], in 15 bins of equal width: the mean distance of
    accuracy and highest probability (Guo et al. 2017, arXiv:1706.04599, eq. 3). An answer that is not finite counts as
    wrong with probability 1; NaN without examples."""
    if not len(labels):
        return math.nan
    finite = np.all(np.isfinite(scores), axis=1)
    shifted = np.where(finite[:, None], scores, 0).astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    confidence = np.where(finite, 1 / np.exp(shifted).sum(axis=1), 1.0)
    right = predictions(scores) == labels
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=_BINS)
    return float(np.sum(np.abs(gaps)) / len(labels))


def score_margin(scores: np.ndarray) -> float:
    """Median distance of the two highest scores, float32 [n, classes]; NaN without examples or where one is not
    finite."""
    if not len(scores) or not np.all(np.isfinite(scores)):
        return math.nan
    second, first = np.partition(scores, -2, axis=1)[:, -2:].T
    return float(np.median(first - second))


def _ratio(value: float, to: float) -> float:
    return value / to if to > 0 else math.nan
