"""TFMOT's wrappers against the naive loop: the variables that they train, through their own gradients."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot
from tensorflow_model_optimization.python.core.clustering.keras.cluster_config import GradientAggregation
from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster as experimental
from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.cluster_preserve import (
    default_8bit_cluster_preserve_quantize_scheme as cluster_preserve,
)
from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.prune_preserve import (
    default_8bit_prune_preserve_quantize_scheme as prune_preserve,
)

from components.common.errors import ModelError
from components.common.legacy_keras import keras
from components.dp_training.per_example import check_trainable_privately, clipped_gradient_sum
from components.dp_training.per_example.capture import recorded

L = keras.layers


def wrapped(model, wrap):
    """A copy of `model`, with its weights, in which `wrap` was applied to convolutions and Dense layers."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return keras.models.clone_model(
        copy, clone_function=lambda layer: wrap(layer) if type(layer) in (L.Conv2D, L.Dense) else layer
    )


def plain(wrap=None):
    model = keras.Sequential(
        [
            L.InputLayer((7, 6, 2)),
            L.Conv2D(4, 3, activation="relu", padding="same"),
            L.DepthwiseConv2D(3),
            L.Flatten(),
            L.Dense(5, use_bias=False, activation="relu"),
            L.Dense(3),
        ]
    )
    return wrapped(model, wrap) if wrap else model


def pruned():
    schedule = tfmot.sparsity.keras.ConstantSparsity(0.5, 0, frequency=1)
    model = plain(lambda layer: tfmot.sparsity.keras.prune_low_magnitude(layer, schedule))
    for layer in model.layers:
        if hasattr(layer, "pruning_step"):
            layer.pruning_step.assign(1)
    return model


def clustered(**options):
    start = tfmot.clustering.keras.CentroidInitialization.LINEAR
    return plain(lambda layer: experimental.cluster_weights(layer, 3, start, **options))


def quantized(model, scheme=None):
    quantize = tfmot.quantization.keras
    annotated = quantize.quantize_annotate_model(model)
    wrapped = quantize.quantize_apply(annotated, scheme) if scheme else quantize.quantize_apply(annotated)
    wrapped(images(8), training=True)  # ranges of activations, from made-up public images
    return wrapped


def cluster_preserving():
    return quantized(
        tfmot.clustering.keras.strip_clustering(clustered()),
        cluster_preserve.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=False),
    )


def prune_preserving():
    model = pruned()
    model(images(2), training=True)
    return quantized(tfmot.sparsity.keras.strip_pruning(model), prune_preserve.Default8BitPrunePreserveQuantizeScheme())


MODELS = {
    "pruned": pruned,
    "clustered": clustered,
    "clustered, averaged": lambda: clustered(cluster_gradient_aggregation=GradientAggregation.AVG),
    "clustered, sparse": lambda: clustered(preserve_sparsity=True),
    "quantized": lambda: quantized(plain()),
    "quantized, keeping clusters": cluster_preserving,
    "quantized, keeping zeros": prune_preserving,
}


def images(n):
    return np.random.default_rng(0).random((n, 7, 6, 2), np.float32)


@pytest.mark.parametrize("name", MODELS)
def test_clipped_sum_equals_the_naive_loop(name, naive):
    keras.utils.set_random_seed(1)
    model, labels = MODELS[name](), np.array([0, 1, 2, 0])
    check_trainable_privately(model)
    compiled = tf.function(lambda x, y, present: clipped_gradient_sum(model, x, y, present, 0.7))
    compiled(images(4), labels, tf.ones(4))  # masks and indices settle
    with recorded(model):  # the same ranges of activations for all
        examples = naive.gradients_one_by_one(model, tf.constant(images(4)), labels)
    trained = [v.name for v, *own in zip(model.trainable_variables, *examples, strict=True) if np.any(own)]
    assert len(trained) == len(model.trainable_variables) - 3 * (name == "quantized, keeping clusters")
    found = compiled(images(4), labels, tf.ones(4))
    naive.assert_clipped_sum(found, examples, 0.7, relative=2e-5)


def test_ranges_of_activations_stay_as_they_are_and_those_of_weights_follow():
    model = quantized(plain())
    ranges = {v.name: v.numpy() for v in model.variables if "min" in v.name or "max" in v.name}
    for variable in model.trainable_variables:
        variable.assign(2.0 * variable)
    clipped_gradient_sum(model, 10 * images(4), np.zeros(4, np.int64), tf.ones(4), 1.0)
    moved = {v.name for v in model.variables if v.name in ranges and not np.array_equal(v.numpy(), ranges[v.name])}
    assert moved and all("kernel" in name for name in moved)


def test_a_wrapped_layer_without_a_closed_form_is_refused():
    start = tfmot.clustering.keras.CentroidInitialization.LINEAR
    model = keras.Sequential([L.InputLayer((4, 3)), L.GRU(2), L.Dense(3)])
    wrapped = keras.models.clone_model(
        model,
        clone_function=lambda part: part if isinstance(part, L.Dense) else experimental.cluster_weights(part, 2, start),
    )
    with pytest.raises(ModelError, match="gru.* closed form"):
        check_trainable_privately(wrapped)
