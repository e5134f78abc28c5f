"""Which models have no per-example gradient: those in which an example's output depends on the others in the batch."""

import contextlib
from collections.abc import Iterator

from components.common.calls import replaced_call
from components.common.errors import ModelError
from components.common.legacy_keras import keras
from components.dp_training.per_example.capture import frozen_ranges
from components.dp_training.per_example.errors import ExamplesMixError, PrecisionError, StateChangesError, layer_loss
from components.dp_training.per_example.plan import plan_for
from components.dp_training.per_example.probe import probe
from components.dp_training.per_example.rules import wrappers
from components.dp_training.per_example.state import kept

_OTHER_FLOATS = ("float16", "bfloat16", "float64")


def check_trainable_privately(model: keras.Model) -> None:
    """Refuses a model that has no per-example gradient, and says once, by name, which layers have no closed form.

    Known layers are refused by class, changes of state by the model's graph; then the model is run on made-up inputs at
    several weights, and what one example does to another's output and gradients is measured. What passes all of this
    and is still not known to keep examples apart is run one example at a time (`known`).

    Args:
        model: Sequential or functional, with one input.

    Raises:
        ExamplesMixError: an example's output depends on another; names the layer where it is known.
        LayerLossError: a layer has a regularizer or adds a loss.
        StateChangesError: a call assigns something that comes from the examples.
        PrecisionError: a layer computes in another precision than float32.
        ModelError: the model has not one known input, or not one row of outputs an example.
    """
    for layer in model._flatten_layers():
        _refuse_by_class(layer)
        _refuse_precision(layer)
    if len(getattr(model, "inputs", None) or []) != 1:
        raise ModelError(f"model {model.name} must be Sequential or functional, with one input")
    plan = plan_for(model)
    with kept([*model.variables, *plan.changed, *plan.generators]), _pruning_off(model), frozen_ranges(model):
        probe(model, plan)


def _refuse_by_class(layer: keras.layers.Layer) -> None:
    """BatchNormalization that is frozen uses its stored moments, so it is let through."""
    names = {c.__name__ for c in type(layer).__mro__}
    if names & {"BatchNormalization", "BatchNormalizationBase"} and layer.trainable:
        raise ExamplesMixError(
            f"layer {layer.name} must not mix examples: {type(layer).__name__} has no per-example gradient. "
            "Use GroupNormalization instead"
        )
    if getattr(layer, "stateful", False) and not isinstance(layer, keras.Model):
        raise ExamplesMixError(
            f"layer {layer.name} must not carry state from one batch to the next. Use stateful=False instead"
        )
    if "SpectralNormalization" in names:
        raise StateChangesError(
            f"layer {layer.name} must not rewrite its own weights at every call, as {type(layer).__name__} does. "
            "Use the layer in it alone"
        )
    if layer._losses or layer._callable_losses or getattr(layer, "activity_regularizer", None) is not None:
        raise layer_loss(layer.name)


def _refuse_precision(layer: keras.layers.Layer) -> None:
    dtypes = [layer.compute_dtype, layer.variable_dtype, *(v.dtype.name for v in layer.weights)]
    other = [dtype for dtype in dtypes if dtype in _OTHER_FLOATS]
    if other:
        raise PrecisionError(
            f"layer {layer.name} must compute in float32: its clip is proven for no other precision. "
            f"Received: {other[0]}"
        )


@contextlib.contextmanager
def _pruning_off(model: keras.Model) -> Iterator[None]:
    """Leaves out pruning's schedule, which wants a callback."""
    with contextlib.ExitStack() as stack:
        for layer in model._flatten_layers():
            if wrappers.is_pruned(layer):
                stack.enter_context(replaced_call(layer, _without_training(layer.layer)))
        yield


def _without_training(layer: keras.layers.Layer):
    return lambda inputs, training=None, **kwargs: layer.call(inputs, **kwargs)
