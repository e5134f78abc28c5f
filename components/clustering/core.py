"""Weight clustering (Han, Mao and Dally 2016, arXiv:1510.00149, section 3) with TFMOT's wrapper."""

import numpy as np
import tensorflow_model_optimization as tfmot
from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster as experimental

from components.clustering.config import ClusterConfig
from components.common.examples import Split
from components.common.layers import kernels, wrap_compressed
from components.common.legacy_keras import keras
from components.common.public_training import fit_public


def cluster(model: keras.Model, config: ClusterConfig, public: Split | None) -> tuple[keras.Model, dict[str, int]]:
    """Replaces the weights of every Conv2D and Dense kernel by at most `config.clusters` centroids.

    Zeros stay zeros where a kernel has any, so that pruning survives; zero then is one of the centroids.

    Args:
        model: the model to cluster; unchanged.
        config: how many centroids.
        public: what `config.epochs` run over; None where there are none.

    Returns:
        The clustered model, and the number of distinct weights of each kernel by layer name, read back from it.

    Raises:
        ModelError: weights that are not finite, or no layer to cluster.
    """
    distinct = {name: len(np.unique(kernel)) for name, kernel in kernels(model).items()}
    sparse = {name: bool(np.any(kernel == 0)) for name, kernel in kernels(model).items()}
    start = tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS

    def wrap(layer: keras.layers.Layer) -> keras.layers.Layer:
        if distinct[layer.name] <= config.clusters:
            return layer
        return experimental.cluster_weights(layer, config.clusters, start, preserve_sparsity=sparse[layer.name])

    wrapped = wrap_compressed(model, wrap)
    if public is not None:
        fit_public(wrapped, public, config.epochs, config.learning_rate)
    clustered = tfmot.clustering.keras.strip_clustering(wrapped)
    return clustered, {name: len(np.unique(kernel)) for name, kernel in kernels(clustered).items()}
