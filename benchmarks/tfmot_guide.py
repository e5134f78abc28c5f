"""The peer of `compression`: what TFMOT's own guides do, with the epochs, rates and levels that they name.

The guides (tensorflow.org/model_optimization/guide): pruning/pruning_with_keras, clustering/clustering_example,
quantization/training_example, and combine/{pqat,cqat,pcqat}_example. Each takes a trained model and returns the bytes
of an int8 `.tflite`, calibrated where the guide's own conversion would leave activations in floating point, so that all
files here are integers from input to output.
"""

from collections.abc import Callable

import numpy as np
import tensorflow_model_optimization as tfmot
from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster as sparsity_preserving
from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.cluster_preserve import (
    default_8bit_cluster_preserve_quantize_scheme as cluster_preserve,
)
from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.prune_preserve import (
    default_8bit_prune_preserve_quantize_scheme as prune_preserve,
)

from components.common.kernels import plain_copy
from components.common.legacy_keras import keras
from components.quantization.core import convert

_START = tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS


def pruned(model: keras.Model, images: np.ndarray, labels: np.ndarray, schedule=None, epochs: int = 2) -> keras.Model:
    """Pruning guide: from 50 to 80 % over two epochs of batches of 128."""
    steps = -(-len(labels) // 128) * epochs
    schedule = schedule or tfmot.sparsity.keras.PolynomialDecay(0.5, 0.8, begin_step=0, end_step=steps)
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(plain_copy(model), pruning_schedule=schedule)
    update = tfmot.sparsity.keras.UpdatePruningStep()
    _fit(wrapped, images, labels, epochs, 128, 1e-3, [update])
    return tfmot.sparsity.keras.strip_pruning(wrapped)


def clustered(model: keras.Model, images, labels, clusters: int = 16, sparse: bool = False) -> keras.Model:
    """Clustering guide: one epoch at 1e-5, 16 clusters that start on a line; with `sparse` the PCQAT guide's step."""
    start = tfmot.clustering.keras.CentroidInitialization.LINEAR if clusters == 16 else _START
    settings = {"number_of_clusters": clusters, "cluster_centroids_init": start}
    if sparse:
        wrapped = sparsity_preserving.cluster_weights(plain_copy(model), **settings, preserve_sparsity=True)
    else:
        wrapped = tfmot.clustering.keras.cluster_weights(plain_copy(model), **settings)
    _fit(wrapped, images, labels, 1, 500, 1e-5)
    return tfmot.clustering.keras.strip_clustering(wrapped)


def quantized(model: keras.Model, images, labels, scheme=None, examples: int | None = None) -> bytes:
    """QAT guide: one epoch, on a thousand images in batches of 500; the combined guides take all of them by 128."""
    apply, annotate = tfmot.quantization.keras.quantize_apply, tfmot.quantization.keras.quantize_annotate_model
    wrapped = apply(annotate(plain_copy(model)), scheme) if scheme else apply(annotate(plain_copy(model)))
    chosen = slice(None) if scheme else slice(examples or 1000)
    _fit(wrapped, images[chosen], labels[chosen], 1, 128 if scheme else 500, 1e-3)
    return convert(wrapped, "int8", images[:500])


def _pqat(model, images, labels) -> bytes:
    half = tfmot.sparsity.keras.ConstantSparsity(0.5, begin_step=0, frequency=100)
    scheme = prune_preserve.Default8BitPrunePreserveQuantizeScheme()
    return quantized(pruned(model, images, labels, half), images, labels, scheme)


def _cqat(model, images, labels) -> bytes:
    scheme = cluster_preserve.Default8BitClusterPreserveQuantizeScheme()
    return quantized(clustered(model, images, labels, 8), images, labels, scheme)


def _pcqat(model, images, labels) -> bytes:
    half = tfmot.sparsity.keras.ConstantSparsity(0.5, begin_step=0, frequency=100)
    sparse = pruned(model, images, labels, half)
    scheme = cluster_preserve.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=True)
    return quantized(clustered(sparse, images, labels, 8, sparse=True), images, labels, scheme)


GUIDES: dict[str, Callable[..., bytes]] = {
    "qat": quantized,
    "prune+int8": lambda m, x, y: convert(pruned(m, x, y), "int8", x[:500]),
    "cluster+int8": lambda m, x, y: convert(clustered(m, x, y), "int8", x[:500]),
    "prune+cluster+int8": lambda m, x, y: convert(clustered(pruned(m, x, y), x, y, sparse=True), "int8", x[:500]),
    "pqat": _pqat,
    "cqat": _cqat,
    "pcqat": _pcqat,
}


def _fit(model, images, labels, epochs: int, batch: int, rate: float, callbacks=()) -> None:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.legacy.Adam(rate), loss)
    model.fit(images, labels, batch_size=batch, epochs=epochs, callbacks=list(callbacks), verbose=0)
