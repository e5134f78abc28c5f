"""Weight clustering (Han, Mao and Dally 2016, arXiv:1510.00149, section 3): TFMOT's centroids to start from, moved by
Lloyd's algorithm, held by a projection."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_model_optimization.python.core.clustering.keras.cluster_config import CentroidInitialization
from tensorflow_model_optimization.python.core.clustering.keras.clustering_centroids import CentroidsInitializerFactory

from components.clustering.config import ClusterConfig
from components.common.compensation import Inputs, cluster_dense
from components.common.compressed import Compressed, Promise, Tune, held, rows_of
from components.common.kernels import Kernel, copy_of, kernels, require_known
from components.common.layer_inputs import compensate, images_for
from components.common.projections import Centroids, lloyd

_STARTS = {
    "kmeans++": CentroidInitialization.KMEANS_PLUS_PLUS,
    "linear": CentroidInitialization.LINEAR,
    "density": CentroidInitialization.DENSITY_BASED,
}
_ITERATIONS = 100  # of Lloyd's algorithm, more than one-dimensional weights need


def cluster(made: Compressed, config: ClusterConfig, tune: Tune | None, public: Any = None) -> Compressed:
    """Replaces the weights of every kernel by at most so many distinct values, and fine-tunes the values.

    Zeros stay zeros where a stage before has promised them; zero is one of the values then.

    Args:
        made: the model to cluster, unchanged.
        config: how many values.
        tune: fine-tunes a model while each weight is held to its nearest centroid; None for weights only.
        public: what `config.compensate` may need, see `images_for`.

    Raises:
        ModelError: weights that are not finite, no kernel to cluster, an unknown layer name, or see `images_for`.
    """
    model = copy_of(made.model)
    found = kernels(model)
    require_known("cluster", config.layers, found)
    promises = {name: _promise(made.promises.get(name, Promise()), name, config) for name in found}
    keeps, plain, spared = dict(made.promises), list(found), {}
    if config.compensate != "nothing":

        def change(name: str, matrix: np.ndarray, inputs: Inputs) -> np.ndarray:
            levels = _levels(found[name], promises[name], config)
            return cluster_dense(matrix, inputs, levels, keep_zeros=promises[name].sparsity is not None)

        spared = compensate(model, found, images_for(config.compensate, model, public), change)
        plain = list(spared)
    for name in found.keys() - set(plain):
        zeros = float(np.mean(found[name].variable.numpy() == 0))
        promises[name] = keeps[name] = dataclasses.replace(promises[name], sparsity=zeros)
    centroids = {name: starts_of(found[name], promises[name].clusters, config) for name in plain}
    added = {name: [Centroids(starts, found[name].channel_axis)] for name, starts in centroids.items()}
    holding = held(model, keeps, added)
    if tune is not None:
        tune(model, holding)
    holding.settle()
    return made.after("cluster", model, {**made.promises, **promises}, spared)


def _promise(before: Promise, name: str, config: ClusterConfig) -> Promise:
    clusters = config.layers.get(name, config.clusters)
    return dataclasses.replace(before, clusters=clusters, per_channel=config.per_channel)


def _levels(kernel: Kernel, promise: Promise, config: ClusterConfig) -> np.ndarray:
    """The values that a compensated kernel may take, float32 [channels or 1, at most `promise.clusters`]. Linear ones
    are evenly spaced about zero, which is among them where their number is odd."""
    values, count = kernel.variable.numpy(), promise.clusters
    if config.centroids != "linear":
        return np.pad(starts_of(kernel, count, config), ((0, 0), (0, int(np.any(values == 0)))))
    rows = rows_of(values, kernel, config.per_channel)
    if promise.sparsity is not None and count % 2 == 0:
        count -= 1  # for zero
    return np.abs(rows).max(1, keepdims=True) * np.linspace(-1, 1, count, dtype=np.float32)


def starts_of(kernel: Kernel, count: int, config: ClusterConfig) -> np.ndarray:
    """Ascending centroids of the weights that are not zero, float32 [channels, at most count]."""
    values = kernel.variable.numpy()
    rows = rows_of(values, kernel, config.per_channel)
    wanted = count - int(np.any(values == 0))
    return np.stack([_centroids_of(row[row != 0], wanted, config.centroids) for row in rows])


def _centroids_of(values: np.ndarray, count: int, start: str) -> np.ndarray:
    """Ascending centroids of float32 values [n], float32 [count]; of fewer values the last is repeated."""
    distinct = np.unique(values)
    if len(distinct) <= count:
        known = distinct if len(distinct) else np.zeros(1, np.float32)
        return np.pad(known, (0, count - len(known)), "edge")
    initial = CentroidsInitializerFactory.get_centroid_initializer(_STARTS[start])(tf.constant(values), count)
    return lloyd(values, np.sort(initial.get_cluster_centroids().numpy()), _ITERATIONS)
