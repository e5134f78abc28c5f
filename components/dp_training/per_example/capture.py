"""Records the calls of a model's layers: what went in, and where the gradient must be known."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import tensorflow as tf

from components.common.calls import replaced_call
from components.common.legacy_keras import keras
from components.dp_training.per_example.rules import RULES, layerwise, wrappers
from components.dp_training.per_example.rules.rule import Recorded, Rule
from components.dp_training.per_example.terms import Term


class NoClosedForm(Exception):
    """A call for which the gradient of a layer's weights cannot be had from the layer alone; holds the layer's name."""

    _keras_call_info_injected = True  # Keras adds a page about the call to exceptions that have not got it


@dataclass(frozen=True, kw_only=True)
class Use:
    """One call of a layer that has trainable weights.

    rule: None where the layer is run again instead. wrapper: TFMOT's wrapper around the layer, if any. inputs: the
    tensors among its arguments. returned: what the model goes on with, which is the output.
    """

    layer: keras.layers.Layer
    rule: Rule | None
    wrapper: keras.layers.Layer | None
    recorded: Recorded
    inputs: tuple[tf.Tensor, ...] = ()
    returned: tuple[tf.Tensor, ...] = ()

    @property
    def weights(self) -> list[tf.Variable]:
        """The variables that `terms` speaks of."""
        if self.rule is None:
            return self.layer.trainable_weights
        variables = []
        for attribute in self.rule.weights:
            source = wrappers.source(self.wrapper, attribute) if self.wrapper is not None else None
            variables += [getattr(self.layer, attribute, None)] if source is None else source.variables
        return [variable for variable in variables if isinstance(variable, tf.Variable)]

    def terms(self, gradients: Sequence[tf.Tensor]) -> list[tuple[tf.Variable, Term]]:
        """(trainable variable, its per-example gradients by this call), from the gradients at the taps."""
        if self.rule is None:
            weights = self.layer.trainable_weights
            return list(zip(weights, layerwise.terms(self.recorded, weights, gradients), strict=True))
        found = []
        for attribute, term in self.rule.terms(self.layer, self.recorded, gradients).items():
            source = wrappers.source(self.wrapper, attribute) if self.wrapper is not None else None
            found += [(getattr(self.layer, attribute), term)] if source is None else source.pull(term)
        return found


def units(layer: keras.layers.Layer) -> list[tuple[keras.layers.Layer, keras.layers.Layer | None]]:
    """(layer, TFMOT's wrapper or None) for each layer with trainable weights that is recorded as a whole, once.

    A model is entered.
    """
    found = {}
    for part, wrapper in _units(layer, None):
        found.setdefault(id(part), (part, wrapper))
    return list(found.values())


def _units(layer, wrapper) -> Iterator[tuple]:
    if not layer.trainable_weights:
        return
    if wrappers.is_wrapper(layer):
        yield layer.layer, layer
    elif isinstance(layer, keras.Model):
        for part in layer._flatten_layers(recursive=False, include_self=False):
            yield from _units(part, None)
    else:
        yield layer, wrapper


@contextlib.contextmanager
def recorded(model: keras.Model, *, severed: bool = False) -> Iterator[list[Use]]:
    """Records each call of a layer with trainable weights that is made while the context is open.

    Args:
        model: built.
        severed: no gradient flows through the recorded calls, so that what still reaches a weight goes past them.

    Raises, from inside a call:
        NoClosedForm: the layer has neither a closed form nor can it be run again.
    """
    uses: list[Use] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(frozen_ranges(model))
        for layer, wrapper in units(model):
            stack.enter_context(replaced_call(layer, _recording(layer, wrapper, layer.call, uses, severed)))
        yield uses


@contextlib.contextmanager
def frozen_ranges(model: keras.Model) -> Iterator[None]:
    """Keeps quantizers of activations from following the batch (see `rules.wrappers`)."""
    with contextlib.ExitStack() as stack:
        for layer in model._flatten_layers():
            if wrappers.has_frozen_ranges(layer):
                stack.enter_context(replaced_call(layer, wrappers.with_frozen_ranges(layer, layer.call)))
        yield


def _recording(layer, wrapper, call: Callable, uses: list[Use], severed: bool) -> Callable:
    def recording(*args, **kwargs):
        rule = _rule_for(layer, args, kwargs)
        if rule is not None:
            made = rule.forward(layer, call, args[0])
        elif layerwise.repeats_itself(layer) and (wrapper is None or wrappers.is_pruned(wrapper)):
            made = layerwise.forward(call, args, kwargs)
        else:
            raise NoClosedForm(layer.name)
        output = tf.nest.map_structure(tf.stop_gradient, made.output) if severed else made.output
        inputs = tuple(value for value in tf.nest.flatten([args, kwargs]) if tf.is_tensor(value))
        returned = tuple(tf.nest.flatten(output))
        uses.append(Use(layer=layer, rule=rule, wrapper=wrapper, recorded=made, inputs=inputs, returned=returned))
        return output

    return recording


def _rule_for(layer, args: tuple, kwargs: dict) -> Rule | None:
    """The layer's closed form, if it holds for these arguments: one input, in float32, and no mask."""
    rule = RULES.get(type(layer))
    alone = len(args) == 1 and all(value is None for name, value in kwargs.items() if name != "training")
    if rule is None or not alone or layer.compute_dtype != "float32" or not rule.fits(layer, args[0]):
        return None
    return rule
