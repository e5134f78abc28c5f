"""Which models have no per-example gradient: those in which an example's output depends on the others in the batch."""

import contextlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from components.common.calls import replaced_call
from components.common.errors import ModelError
from components.common.legacy_keras import keras
from components.dp_training.per_example.capture import frozen_ranges
from components.dp_training.per_example.plan import plan_of
from components.dp_training.per_example.rules import wrappers

_ANY_LENGTH = 8  # for an axis of unknown length
_PROBED = 4  # examples
_ROUNDING = 1e-6
_OWN_NOISE = tuple(
    getattr(keras.layers, name)
    for name in (
        "Dropout",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "SpatialDropout3D",
        "AlphaDropout",
        "GaussianDropout",
        "GaussianNoise",
    )
)


class ExamplesMixError(ModelError):
    """A layer lets an example's output depend on the others in the batch."""


class LayerLossError(ModelError):
    """A layer adds a loss of its own, which no example owns."""


def check_trainable_privately(model: keras.Model) -> None:
    """Refuses a model that has no per-example gradient, and says once, by name, which layers have no closed form.

    Known layers are refused by class; then the model is run on made-up inputs, and what one example does to another's
    output is measured, by changing it and by its gradient.

    Args:
        model: Sequential or functional, with one input.

    Raises:
        ExamplesMixError: an example's output depends on another; names the layer where it is known.
        LayerLossError: a layer has a regularizer or adds a loss.
        ModelError: the model has not one known input.
    """
    for layer in model._flatten_layers():
        _refuse_by_class(layer)
    if len(getattr(model, "inputs", None) or []) != 1:
        raise ModelError(f"model {model.name} must be Sequential or functional, with one input")
    plan_of(model, tf.TensorSpec([None, *model.inputs[0].shape[1:]], model.inputs[0].dtype))
    with _state_kept(model), _own_noise_off(model), frozen_ranges(model):
        _probe(model)


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
    if layer._losses or layer._callable_losses or getattr(layer, "activity_regularizer", None) is not None:
        raise _layer_loss(layer)


def _layer_loss(layer: keras.layers.Layer) -> LayerLossError:
    return LayerLossError(
        f"layer {layer.name} must not add a loss: it is no example's own, so no clipping bounds it. "
        "Use weight decay in the optimizer instead of a regularizer"
    )


@contextlib.contextmanager
def _state_kept(model: keras.Model) -> Iterator[None]:
    had = [(variable, variable.numpy()) for variable in model.variables]
    try:
        yield
    finally:
        for variable, value in had:
            variable.assign(value)


@contextlib.contextmanager
def _own_noise_off(model: keras.Model) -> Iterator[None]:
    """Dropout and its kin draw for each example alone: off, so that two runs can be compared. Pruning's schedule,
    which wants a callback, is left out too."""
    with contextlib.ExitStack() as stack:
        for layer in model._flatten_layers():
            if type(layer) in _OWN_NOISE:
                stack.enter_context(replaced_call(layer, lambda inputs, *args, **kwargs: inputs))
            elif wrappers.is_pruned(layer):
                stack.enter_context(replaced_call(layer, _without_training(layer.layer)))
        yield


def _without_training(layer: keras.layers.Layer):
    return lambda inputs, training=None, **kwargs: layer.call(inputs, **kwargs)


def _probe(model: keras.Model) -> None:
    """Runs made-up examples, then again with the first one changed in several ways."""
    first, *changes = _made_up(model)
    with tf.GradientTape() as tape:
        tape.watch(first)
        output = _flat(model(first, training=True))
        others = tf.reduce_sum(output[1:] * np.random.default_rng(1).normal(size=output[1:].shape).astype(np.float32))
    for layer in model._flatten_layers():
        if layer._losses:
            raise _layer_loss(layer)

    def moves(inputs: tf.Tensor, start: int) -> bool:
        allowed = _ROUNDING * (1.0 + float(tf.reduce_max(tf.abs(output))))
        return float(tf.reduce_max(tf.abs(_flat(model(inputs, training=True)) - output)[start:])) > allowed

    if not moves(first, 0) and any(moves(changed, 1) for changed in changes):
        raise _mixes(model)
    gradient = tape.gradient(others, first) if first.dtype.is_floating else None
    if gradient is not None:
        reach = tf.reduce_max(tf.abs(tf.reshape(gradient, [first.shape[0], -1])), 1)
        if float(reach[0]) > _ROUNDING * float(tf.reduce_max(reach)):
            raise _mixes(model)


def _mixes(model: keras.Model) -> ExamplesMixError:
    return ExamplesMixError(
        f"model {model.name} must not mix examples: one example's output changed with another's input. "
        "Normalize within an example (GroupNormalization), and reduce over no batch axis"
    )


def _flat(output: tf.Tensor) -> tf.Tensor:
    parts = [tf.cast(tf.reshape(part, [part.shape[0], -1]), tf.float32) for part in tf.nest.flatten(output)]
    return tf.concat(parts, 1)


def _made_up(model: keras.Model) -> list[tf.Tensor]:
    """Batches of four that differ in the first example: floats mostly in [0, 1), or ids 0 and 1."""
    spec = model.inputs[0]
    shape = [_PROBED, *(_ANY_LENGTH if length is None else length for length in spec.shape[1:])]
    rng = np.random.default_rng(0)
    if not spec.dtype.is_floating or any(
        isinstance(layer, keras.layers.Embedding) for layer in model._flatten_layers()
    ):
        batch = rng.integers(0, 2, shape)
        return [tf.constant(np.concatenate([own, batch[1:]]), spec.dtype) for own in (batch[:1], 1 - batch[:1])]
    batch = rng.random(shape)
    own = (batch[:1], rng.random([1, *shape[1:]]), -10.0 * batch[:1], 10.0 * batch[:1])
    return [tf.constant(np.concatenate([first, batch[1:]]), spec.dtype) for first in own]
