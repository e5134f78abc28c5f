"""The closed forms on tensorflow-privacy's own extension point, its fast-gradient-clipping layer registry.

With `layer_registry()`, TFP's `DPModel` and `clip_grads` take every layer that has a rule here by its closed form,
where TFP 0.9.0 itself knows Dense and Embedding only and runs the rest at a fiftieth of the speed. TFP adds up a
layer's squared norms call by call, which is not the norm of the sum when a layer is called twice; here the last call
answers for all of them.
"""

import sys
import weakref
from collections.abc import Callable

import tensorflow as tf

from components.dp_training.per_example.engine import by_variable
from components.dp_training.per_example.rules import RULES
from components.dp_training.per_example.rules.rule import Rule

sys.skip_tf_privacy_import = True  # its __init__ imports estimators, which TensorFlow no longer has

from tensorflow_privacy.privacy.fast_gradient_clipping.layer_registry import (  # noqa: E402
    LayerRegistry,
    make_default_layer_registry,
)

_CALLS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # by tape, then by layer


def layer_registry() -> LayerRegistry:
    """TFP's own registry, with this package's rules in it, which replace TFP's for Dense and Embedding."""
    registry = make_default_layer_registry()
    for rule in RULES.values():
        registry.insert(rule.layer, registry_function(rule))
    return registry


def registry_function(rule: Rule) -> Callable:
    """A rule as what TFP calls a registry function: (layer, args, kwargs, tape, microbatches) to (tensors whose
    gradients are wanted, output, function from these gradients to float32 [n] squared norms).

    n is the number of examples, or of microbatches, whose examples lie side by side and whose loss is their mean.
    """

    def function(layer, args, kwargs, tape: tf.GradientTape, num_microbatches=None):
        if len(args) != 1 or any(value is not None for value in kwargs.values()) or not rule.fits(layer, args[0]):
            raise NotImplementedError(f"layer {layer.name} must be called with one input for which it has a rule")
        tape.watch(layer.trainable_variables)
        recorded = rule.forward(layer, layer.call, args[0])
        calls = _CALLS.setdefault(tape, {}).setdefault(layer, [])
        place = len(calls)
        calls.append((recorded, None))

        def squared_norms(gradients):
            calls[place] = (recorded, gradients)
            if place + 1 < len(calls):
                rows = tf.shape(gradients[0])[0] if num_microbatches is None else num_microbatches
                return tf.zeros([rows])
            pairs = [
                (getattr(layer, attribute), term)
                for made, own in calls
                for attribute, term in rule.terms(layer, made, own).items()
            ]
            return tf.add_n([term.squared_norms() for term in by_variable(pairs, num_microbatches).values()])

        return recorded.taps, recorded.output, squared_norms

    return function
