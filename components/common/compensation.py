"""Pruning and clustering of a linear layer that keep its outputs: what one weight loses, the others of its column make
up for, as far as the layer's inputs are correlated.

The inputs enter through their mean and covariance alone, and both may come from images that were drawn by chance
(`random_images`): a private model is then compressed without a read of anybody's data.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import scipy.linalg

_BLOCK = 256  # rows whose errors are handed on together


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a layer is fed. mean: float32 [d]; covariance: float32 [d, d], of full rank."""

    mean: np.ndarray
    covariance: np.ndarray


def inputs_of(batches: Iterable[np.ndarray], about_mean: bool = True, damping: float = 0.1) -> Inputs:
    """Moments of float32 rows [n, d] that come in batches, of which one is in memory at a time.

    Args:
        batches: at least one, with rows in it: what a Dense layer is fed, or the patches that a convolution is fed.
        about_mean: whether the covariance is about the mean. Without, it is about zero and the mean is zero: for a
            layer that has no bias to keep its mean outputs with.
        damping: what is added to each variance, a fraction of the mean variance: without it, what is uncorrelated by
            chance in few rows would be trusted.
    """
    count, origin, total, products = 0, None, 0.0, 0.0
    for rows in batches:
        if origin is None:
            origin = rows.mean(0) if about_mean else np.zeros(rows.shape[1], np.float32)
        centred = rows - origin
        count, total, products = count + len(rows), total + centred.sum(0), products + centred.T @ centred
    shift = total / count if about_mean else np.zeros_like(origin)
    covariance = products / count - np.outer(shift, shift)
    covariance[np.diag_indices_from(covariance)] += damping * (np.mean(np.diag(covariance)) or 1.0)
    return Inputs(mean=(origin + shift).astype(np.float32), covariance=covariance.astype(np.float32))


def saliency_of(kernel: np.ndarray, inputs: Inputs) -> np.ndarray:
    """How much each weight matters alone, |w| * std(input), float32 [d, units] (Sun et al. 2024, arXiv:2306.11695)."""
    return np.abs(kernel) * np.sqrt(np.diag(inputs.covariance))[:, None]


def prune_dense(kernel: np.ndarray, inputs: Inputs, kept: np.ndarray) -> np.ndarray:
    """Sets weights to zero and solves for the others, so that outputs differ least in mean square (Hassibi and Stork
    1993).

    Args:
        kernel: float32 [d, units].
        inputs: of the layer, d features.
        kept: bool [d, units], False for weights that become zero.
    """
    wanted, pruned = inputs.covariance @ kernel, np.zeros_like(kernel)
    for unit, rows in enumerate(kept.T):
        if rows.any():
            among = inputs.covariance[np.ix_(rows, rows)]
            pruned[rows, unit] = scipy.linalg.solve(among, wanted[rows, unit], assume_a="pos")
    return pruned


def cluster_dense(kernel: np.ndarray, inputs: Inputs, centroids: np.ndarray, keep_zeros: bool = False) -> np.ndarray:
    """Replaces each weight by the nearest centroid, one input after the other, and moves the weights of the inputs that
    are still to come by what makes up for the error (GPTQ, Frantar et al. 2023, arXiv:2210.17323).

    Args:
        kernel: float32 [d, units].
        inputs: of the layer, d features.
        centroids: float32 [units, clusters], or [1, clusters] where all units share them.
        keep_zeros: weights that are zero stay zero, and no error is handed to them to keep.
    """
    order = np.argsort(-np.diag(inputs.covariance), kind="stable")
    onward = _onward(inputs.covariance[np.ix_(order, order)])
    left, held = kernel[order].astype(np.float32), keep_zeros & (kernel[order] == 0)
    centroids = np.broadcast_to(centroids, (kernel.shape[1], centroids.shape[1]))
    units, clustered = np.arange(kernel.shape[1]), np.empty_like(left)
    for start in range(0, len(left), _BLOCK):
        stop = min(start + _BLOCK, len(left))
        errors = np.empty((stop - start, left.shape[1]), np.float32)
        for row in range(start, stop):
            nearest = centroids[units, np.abs(left[row][:, None] - centroids).argmin(1)]
            clustered[row] = np.where(held[row], 0, nearest)
            errors[row - start] = (left[row] - clustered[row]) / onward[row, row]
            left[row + 1 : stop] -= np.outer(onward[row, row + 1 : stop], errors[row - start])
        left[stop:] -= onward[start:stop, stop:].T @ errors
    back = np.empty_like(clustered)
    back[order] = clustered
    return back


def bias_shift(before: np.ndarray, after: np.ndarray, inputs: Inputs) -> np.ndarray:
    """What to add to the bias so that mean outputs stay, float32 [units]."""
    return inputs.mean @ (before - after)


def _onward(covariance: np.ndarray) -> np.ndarray:
    """Upper triangular U with inverse(covariance) = Uᵀ U: row i says how the error of input i is handed on."""
    lower = scipy.linalg.cholesky(covariance.astype(np.float64), lower=True)
    inverse = scipy.linalg.lapack.dpotri(lower, lower=True, overwrite_c=True)[0]
    return scipy.linalg.cholesky(inverse.T, lower=False).astype(np.float32)
