"""TFMOT's wrappers: the wrapped layer keeps its closed form, with the weights that the wrapper computed for it.

PruneLowMagnitude masks the weight itself, so nothing changes. ClusterWeights and QuantizeWrapper hand the layer a
function of its variables; its gradient (straight-through, or a sum over each cluster) is applied to every example's
materialised gradient, before any norm is taken.

Quantizers of activations follow the range of the whole batch while training: an example's output would depend on the
others, and the range itself would be released without noise. Here they stay as they are: calibrate them on public
data.
Ranges of weights follow the weights, which are already private.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from components.common.legacy_keras import keras
from components.dp_training.per_example.terms import Direct, Term
from components.dp_training.per_example.vectorized import over_rows


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a wrapped layer's weight comes from.

    compute: makes the weight, as often as one likes. variables: what it is made of. elementwise: whether each element
    is made of the same element of the one variable, so that one mask holds for all examples.
    """

    compute: Callable[[], tf.Tensor]
    variables: list[tf.Variable]
    elementwise: bool

    def pull(self, term: Term) -> list[tuple[tf.Variable, Term]]:
        """Terms of the variables, from the term of the weight."""
        gradients = term.materialised()
        with tf.GradientTape(persistent=True) as tape:
            weight = self.compute()
        if self.elementwise:
            (variable,) = self.variables
            mask = tape.gradient(weight, variable, unconnected_gradients="zero")
            return [(variable, Direct(gradients * mask))]

        def one(gradient):
            found = tape.gradient(weight, self.variables, gradient, unconnected_gradients="zero")
            return [tf.convert_to_tensor(f) for f in found]

        return list(zip(self.variables, map(Direct, over_rows(one, gradients)), strict=True))


def _is(layer: keras.layers.Layer, name: str) -> bool:
    return any(
        c.__name__ == name and c.__module__.startswith("tensorflow_model_optimization.") for c in type(layer).__mro__
    )


def is_pruned(layer: keras.layers.Layer) -> bool:
    """Whether this is PruneLowMagnitude."""
    return _is(layer, "PruneLowMagnitude")


def is_wrapper(layer: keras.layers.Layer) -> bool:
    """Whether this is one of TFMOT's wrappers around one layer."""
    return any(_is(layer, name) for name in ("PruneLowMagnitude", "ClusterWeights", "QuantizeWrapper"))


def has_frozen_ranges(layer: keras.layers.Layer) -> bool:
    """Whether this layer quantizes activations, whose ranges must stay as they are."""
    return _is(layer, "QuantizeWrapper") or _is(layer, "QuantizeLayer")


def with_frozen_ranges(layer: keras.layers.Layer, call: Callable) -> Callable:
    """The layer's call in training, but for the ranges of activations, which stay as they are."""
    if _is(layer, "QuantizeLayer"):
        return lambda inputs, training=None: call(inputs, training=False)

    def frozen(inputs, training=None, **kwargs):
        weights = [quantizer(weight, True, weights=ranges) for weight, quantizer, ranges in layer._weight_vars]
        layer.quantize_config.set_quantize_weights(layer.layer, weights)
        for activation in layer._quantize_activations:
            activation.training = False
        layer.quantize_config.set_quantize_activations(layer.layer, layer._quantize_activations)
        if "training" in inspect.signature(type(layer.layer).call).parameters:
            kwargs["training"] = training
        outputs = layer.layer.call(inputs, **kwargs)
        for quantizer in layer._output_quantizers:
            outputs = quantizer(outputs, False, weights=layer._output_quantizer_vars)
        return outputs

    return frozen


def source(wrapper: keras.layers.Layer, attribute: str) -> Source | None:
    """How `wrapper` makes the weight that its layer holds as `attribute`, if it makes it."""
    if _is(wrapper, "ClusterWeights"):
        return _clustered(wrapper, attribute)
    if _is(wrapper, "QuantizeWrapper"):
        return _quantized(wrapper, attribute)
    return None


def _clustered(wrapper, attribute: str) -> Source | None:
    original = wrapper.original_clusterable_weights.get(attribute)
    if original is None:
        return None
    algorithm, indices = wrapper.clustering_algorithms[attribute], wrapper.pulling_indices[attribute]

    def compute():
        kept = original * wrapper.sparsity_masks[attribute] if wrapper.preserve_sparsity else original
        return algorithm.get_clustered_weight(indices, kept)

    return Source(compute=compute, variables=[original, wrapper.cluster_centroids[attribute]], elementwise=False)


def _quantized(wrapper, attribute: str) -> Source | None:
    for weight, quantizer, ranges in wrapper._weight_vars:
        if weight.name.split("/")[-1].split(":")[0] == attribute:
            return _quantized_source(weight, quantizer, ranges)
    return None


def _quantized_source(weight: tf.Variable, quantizer, ranges: dict) -> Source:
    """A quantizer that has weights of its own (cluster centroids) mixes elements; all others round each by itself."""
    extra = [value for value in ranges.values() if isinstance(value, tf.Variable) and value.trainable]
    return Source(
        compute=lambda: quantizer(weight, True, weights=ranges),
        variables=[weight, *extra],
        elementwise="Cluster" not in type(quantizer).__name__,
    )
