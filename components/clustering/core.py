"""Weight clustering (Han, Mao and Dally 2016, arXiv:1510.00149, section 3): TFMOT's centroids to start from, moved by
Lloyd's algorithm, held by a projection."""

import dataclasses

import numpy as np
import tensorflow as tf
from tensorflow_model_optimization.python.core.clustering.keras.cluster_config import CentroidInitialization
from tensorflow_model_optimization.python.core.clustering.keras.clustering_centroids import CentroidsInitializerFactory

from components.clustering.config import ClusterConfig
from components.common.compressed import Compressed, Promise, Tune, by_channel, held
from components.common.errors import ModelError
from components.common.kernels import Kernel, copy_of, kernels
from components.common.projections import Centroids, lloyd

_STARTS = {
    "kmeans++": CentroidInitialization.KMEANS_PLUS_PLUS,
    "linear": CentroidInitialization.LINEAR,
    "density": CentroidInitialization.DENSITY_BASED,
}
_ITERATIONS = 100  # of Lloyd's algorithm, more than one-dimensional weights need


def cluster(made: Compressed, config: ClusterConfig, tune: Tune | None) -> Compressed:
    """Replaces the weights of every kernel by at most so many distinct values, and fine-tunes the values.

    Zeros stay zeros where a stage before has promised them; zero is one of the values then.

    Args:
        made: the model to cluster, unchanged.
        config: how many values.
        tune: fine-tunes a model while each weight is held to its nearest centroid; None for weights only.

    Raises:
        ModelError: weights that are not finite, no kernel to cluster, or an unknown layer name.
    """
    model = copy_of(made.model)
    found = kernels(model)
    unknown = sorted(set(config.layers) - set(found))
    if unknown:
        raise ModelError(f"`layers` of cluster must name layers of {', '.join(found)}. Received: {unknown[0]}")
    promises, centroids = dict(made.promises), {}
    for name, kernel in found.items():
        before = made.promises.get(name, Promise())
        count = config.layers.get(name, config.clusters)
        centroids[name] = [Centroids(_starts(kernel, count, config), kernel.channel_axis)]
        promises[name] = dataclasses.replace(before, clusters=count, per_channel=config.per_channel)
    holding = held(model, made.promises, centroids)
    if tune is not None:
        tune(model, holding)
    holding.settle()
    return made.after("cluster", model, promises)


def _starts(kernel: Kernel, count: int, config: ClusterConfig) -> np.ndarray:
    """Ascending centroids of the weights that are not zero, float32 [channels, at most count]."""
    values = kernel.variable.numpy()
    rows = by_channel(values, kernel.channel_axis) if config.per_channel else values.reshape(1, -1)
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
