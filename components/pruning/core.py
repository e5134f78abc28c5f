"""Magnitude pruning (Zhu and Gupta 2017, arXiv:1710.01878): TFMOT's masks and schedules, held by a projection."""

import math
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_model_optimization.python.core.sparsity.keras.pruning_impl import Pruning
from tensorflow_model_optimization.python.core.sparsity.keras.pruning_schedule import ConstantSparsity, PolynomialDecay

from components.common.compensation import Inputs, prune_dense, saliency_of
from components.common.compressed import Compressed, Promise, Tune, held
from components.common.errors import ModelError
from components.common.kernels import Kernel, copy_of, kernels, require_known
from components.common.layer_inputs import compensate, images_for
from components.common.projections import Mask
from components.pruning.config import PruneConfig
from components.pruning.units import without_units

_DENSE = "nothing of it was to be pruned, or it has too few input channels for the pattern"
_TICKS = 1000  # in which TFMOT's schedules count a stage's progress


def prune(made: Compressed, config: PruneConfig, tune: Tune | None, public: Any = None) -> Compressed:
    """Sets the smallest weights of every kernel to zero, and fine-tunes the others.

    Args:
        made: the model to prune, unchanged; no stage before it may have clustered it.
        config: how far.
        tune: fine-tunes a model while its zeros are held; None for weights only.
        public: what `config.compensate` may need, see `images_for`.

    Raises:
        ModelError: weights that are not finite, no kernel to prune, an unknown layer name, a clustered model, units
            that cannot be removed, or see `images_for`.
    """
    if made.clustered:
        raise ModelError("pruning must come before clustering, or whole centroids go. Received: a clustered model")
    if config.units and made.promises:
        raise ModelError("units must go before weights do. Received: a compressed model")
    model = copy_of(made.model)
    if config.units:
        model = without_units(model, config.units)
    found = kernels(model)
    require_known("prune", config.layers, found)
    targets = {name: config.layers.get(name, config.sparsity) for name in found}
    masks = {name: Zeros(kernel, targets[name], config) for name, kernel in found.items() if targets[name]}
    spared = {}
    if config.compensate != "nothing":
        pruned = {name: found[name] for name in masks}
        images = images_for(config.compensate, model, public)
        spared = compensate(model, pruned, images, lambda name, *fed: _pruned(masks[name], pruned[name], *fed))
    holding = held(model, {}, {name: [mask] for name, mask in masks.items()})
    if tune is not None:
        tune(model, holding)
    holding.settle()
    promises = {name: Promise(sparsity=mask.sparsity) for name, mask in masks.items() if mask.sparsity}
    dense = {name: _DENSE for name in found if name not in promises}
    return made.after("prune", model, {**made.promises, **promises}, {**spared, **dense})


def _pruned(mask: "Zeros", kernel: Kernel, matrix: np.ndarray, inputs: Inputs) -> np.ndarray:
    """A kernel's matrix without the weights that matter least, the others solved for; `mask` holds them from here."""
    shape = kernel.variable.shape
    mask.update(saliency_of(matrix, inputs).reshape(shape), 1.0)
    return prune_dense(matrix, inputs, mask(tf.ones(shape)).numpy().reshape(matrix.shape) != 0)


class Zeros(Mask):
    """Holds the smallest weights of a kernel at zero; how many follows the schedule, and what is zero stays zero."""

    def __init__(self, kernel: Kernel, sparsity: float, config: PruneConfig):
        self._config, self._transposed = config, kernel.transposed
        self._mask = tf.Variable(tf.ones_like(kernel.variable), trainable=False)
        self._ended = tf.Variable(False, trainable=False)
        self.variables = (self._mask, self._ended)
        self._end = max(1, round(_TICKS * config.ramp))
        if config.schedule == "polynomial":
            self._schedule = PolynomialDecay(0.0, sparsity, begin_step=0, end_step=self._end)
        else:
            self._schedule = ConstantSparsity(sparsity, begin_step=0)

    @property
    def sparsity(self) -> float:
        """Fraction of the kernel that is held at zero now."""
        return float(np.mean(self._mask.numpy() == 0))

    def update(self, latent: np.ndarray, progress: float) -> None:
        """Chooses more of the smallest weights, until the schedule has ended."""
        if self._ended:
            return
        tick = round(_TICKS * progress)
        self._mask.assign(self._chosen(latent * self._mask.numpy(), self._schedule(tf.constant(tick))[1]))
        self._ended.assign(tick >= self._end)

    def _chosen(self, latent: np.ndarray, sparsity: tf.Tensor) -> np.ndarray:
        """TFMOT's mask for a kernel, which it is shown in a shape that its patterns are defined for."""
        weights = tf.Variable(self._viewed(latent))
        mask, threshold = tf.Variable(tf.ones_like(weights)), tf.Variable(0.0)
        now = ConstantSparsity(float(sparsity), begin_step=0, frequency=1)
        pattern = (2, 4) if self._config.pattern == "2:4" else None
        pruning = Pruning(_first_step, [(weights, mask, threshold)], now, (1, 1), "AVG", pattern)
        pruning.conditional_mask_update()
        return self._as_kernel(mask.numpy(), latent.shape)

    def _viewed(self, latent: np.ndarray) -> np.ndarray:
        outputs_last = np.swapaxes(latent, -1, -2) if self._transposed else latent
        if self._config.block != (1, 1):
            return block_means(outputs_last.reshape(-1, outputs_last.shape[-1]), self._config.block)
        return outputs_last[None] if latent.ndim == 3 else outputs_last

    def _as_kernel(self, mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        outputs_last = (*shape[:-2], shape[-1], shape[-2]) if self._transposed else shape
        if self._config.block != (1, 1):
            rows, columns = self._config.block
            mask = mask.repeat(rows, 0).repeat(columns, 1)[: math.prod(outputs_last[:-1]), : outputs_last[-1]]
        mask = mask.reshape(outputs_last)
        return np.swapaxes(mask, -1, -2) if self._transposed else mask


def block_means(matrix: np.ndarray, block: tuple[int, ...]) -> np.ndarray:
    """Means of absolute values in blocks of so many rows and columns, float32 [blocks, blocks]; those at the end may be
    smaller. TFMOT's own pooling fails where there is one block in a row or a column: it squeezes the matrix."""
    starts = [np.arange(0, size, side) for size, side in zip(matrix.shape, block, strict=True)]
    sums = np.add.reduceat(np.add.reduceat(np.abs(matrix), starts[0], 0), starts[1], 1)
    rows, columns = (np.diff(s, append=size) for s, size in zip(starts, matrix.shape, strict=True))
    return (sums / np.outer(rows, columns)).astype(np.float32)


def _first_step() -> tf.Tensor:
    return tf.constant(1)  # the only one at which TFMOT looks for a 2:4 pattern
