"""What each level costs each kernel: one changed at a time, in the trained model, from its weights alone."""

import itertools
import zlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from components.clustering.config import ClusterConfig
from components.clustering.core import starts_of
from components.common.compressed import by_channel
from components.common.kernels import Kernel, copy_of, kernels
from components.common.legacy_keras import keras
from components.common.progress import tell
from components.common.projections import Centroids
from components.pruning.config import PruneConfig
from components.pruning.core import Zeros
from components.search.config import SearchConfig
from components.search.plans import Level

_BATCH = 500
_DENSE, _UNCLUSTERED = 0.0, 0
_DEFLATED = 8192  # codes of a kernel of which the deflated size is measured


def scan(parent: keras.Model, config: SearchConfig, images: np.ndarray) -> list[Level]:
    """Measures every kernel at every level.

    The cost is the mean Kullback-Leibler divergence of the model's probabilities from the parent's, in nats: unlike a
    drop of accuracy it is smooth, and never less than nothing. That of pruning and clustering together is taken to be
    the sum, and so is that of several kernels (the second order of Taylor's expansion, without mixed terms).

    Args:
        parent: returns logits.
        config: the levels.
        images: float32 [n, height, width, channels] of `validation`.
    """
    model = copy_of(parent)
    divergence = _Divergence(model, images)
    levels: list[Level] = []
    found = kernels(model)
    for number, (name, kernel) in enumerate(found.items(), 1):
        changed = _changed(kernel, config)
        costs = {level: divergence.with_values(kernel, weights) for level, weights in changed.items()}
        levels += _levels(kernel, config, changed, costs)
        tell(f"sensitivity of layer {number} of {len(found)}: {name}")
    return levels


class _Divergence:
    """The divergence from what a model was of what it is with one kernel changed."""

    def __init__(self, model: keras.Model, images: np.ndarray):
        self._batches = [tf.constant(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
        self._score = tf.function(lambda batch: tf.nn.log_softmax(model(batch, training=False)), autograph=False)
        self._parent = self._scores()

    def with_values(self, kernel: Kernel, values: np.ndarray) -> float:
        """In nats; the kernel is as before afterwards."""
        before = kernel.variable.numpy()
        kernel.variable.assign(values)
        scores = self._scores()
        kernel.variable.assign(before)
        divergence = float(np.mean(np.sum(np.exp(self._parent) * (self._parent - scores), axis=-1)))
        return max(0.0, divergence) if np.isfinite(divergence) else float(np.finfo(np.float32).max)

    def _scores(self) -> np.ndarray:
        return np.concatenate([self._score(batch).numpy() for batch in self._batches]).astype(np.float64)


def _changed(kernel: Kernel, config: SearchConfig) -> dict[float, np.ndarray]:
    """A kernel's weights at each level alone, by what the stages would hold it to."""
    pruned = {s: Zeros(kernel, s, PruneConfig(sparsity=s)) for s in config.sparsities}
    clusterings = [ClusterConfig(clusters=k) for k in config.clusters]
    clustered = {c.clusters: Centroids(starts_of(kernel, c.clusters, c), kernel.channel_axis) for c in clusterings}
    latent, changed = kernel.variable.numpy(), {}
    for level, projection in {**pruned, **clustered}.items():
        projection.update(latent, 1.0)
        changed[level] = projection(tf.constant(latent)).numpy()
    return changed


def _levels(kernel: Kernel, config: SearchConfig, changed: dict, costs: dict) -> Iterator[Level]:
    """All combinations; where both are wanted, the weights that pruning drops are zero among the clustered ones."""
    dense = kernel.variable.numpy()
    for sparsity, clusters in itertools.product((_DENSE, *config.sparsities), (_UNCLUSTERED, *config.clusters)):
        weights = changed.get(clusters, dense) * (changed[sparsity] != 0 if sparsity else 1)
        yield Level(
            kernel=kernel.name,
            sparsity=sparsity,
            clusters=clusters,
            bytes=_deflated(kernel, weights, shared_scale=bool(clusters)),
            cost=costs.get(sparsity, 0.0) + costs.get(clusters, 0.0),
        )


def _deflated(kernel: Kernel, weights: np.ndarray, shared_scale: bool) -> int:
    """Bytes of a kernel's int8 codes, deflated in the order of TFLite, an output channel after the other; of a large
    kernel measured on the first ones."""
    rows = by_channel(weights, kernel.channel_axis)
    one = shared_scale or isinstance(kernel.layer, keras.layers.Dense)
    largest = np.max(np.abs(rows), axis=None if one else 1, keepdims=True)
    codes = np.round(127 * np.divide(rows, largest, out=np.zeros_like(rows), where=largest > 0))
    first = codes.ravel()[:_DEFLATED].astype(np.int8)
    return round(len(zlib.compress(first.tobytes(), 9)) * codes.size / first.size)
