"""Magnitude pruning (Zhu and Gupta 2017, arXiv:1710.01878) with TFMOT's wrapper, in one shot, then held."""

import sys

import numpy as np
import tensorflow_model_optimization as tfmot

from components.common.examples import Split
from components.common.layers import kernels, wrap_compressed
from components.common.legacy_keras import keras
from components.common.public_training import fit_public
from components.pruning.config import PruneConfig


def prune(model: keras.Model, config: PruneConfig, public: Split | None) -> tuple[keras.Model, dict[str, float]]:
    """Sets the smallest weights of every Conv2D and Dense kernel to zero, and fine-tunes the others.

    Args:
        model: the model to prune; unchanged.
        config: how far.
        public: what `config.epochs` run over; None where there are none.

    Returns:
        The pruned model, and the sparsity of each kernel by layer name, read back from it.

    Raises:
        ModelError: weights that are not finite, or no layer to prune.
    """
    schedule = tfmot.sparsity.keras.ConstantSparsity(config.sparsity, begin_step=0, end_step=0, frequency=1)
    prune_low_magnitude = tfmot.sparsity.keras.prune_low_magnitude
    wrapped = wrap_compressed(model, lambda layer: prune_low_magnitude(layer, pruning_schedule=schedule))
    for layer in _pruned_layers(wrapped):
        layer.pruning_step.assign(0)
        layer.pruning_obj.conditional_mask_update()
        layer.pruning_obj.weight_mask_op()
    if public is not None:
        fit_public(wrapped, public, config.epochs, config.learning_rate, (_HeldMasks(),))
    pruned = tfmot.sparsity.keras.strip_pruning(wrapped)
    return pruned, {name: float(np.mean(kernel == 0)) for name, kernel in kernels(pruned).items()}


class _HeldMasks(keras.callbacks.Callback):
    """Keeps the masks of the one-shot pruning: the schedule is over, so a step only reapplies them."""

    def on_train_begin(self, logs=None):
        for layer in _pruned_layers(self.model):
            layer.pruning_step.assign(1)

    def on_epoch_end(self, epoch, logs=None):
        for layer in _pruned_layers(self.model):
            layer.pruning_obj.weight_mask_op()


def _pruned_layers(model: keras.Model) -> list[keras.layers.Layer]:
    kind = sys.modules["tensorflow_model_optimization.python.core.sparsity.keras.pruning_wrapper"].PruneLowMagnitude
    return [layer for layer in model._flatten_layers() if isinstance(layer, kind)]
