"""What a closed form for a layer consists of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow as tf

from components.common.legacy_keras import keras
from components.dp_training.per_example.terms import Term


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One call of a layer.

    output: what the call returns. taps: the tensors inside the call at whose place the gradient of the loss must be
    known. saved: what else the terms are made of.
    """

    output: tf.Tensor
    taps: tuple[tf.Tensor, ...]
    saved: tuple


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The closed form for exactly the class `layer`; a subclass may compute something else.

    weights: names of the attributes that hold its weights. fits: whether the closed form holds for this layer on this
    input. forward: (layer, the layer's own call, input) to a record of the call. terms: (layer, record, gradients of
    the loss at the taps, [rows, ...] each) to one term a weight, by attribute; weights that the layer has not are
    absent.
    """

    layer: type[keras.layers.Layer]
    weights: tuple[str, ...]
    fits: Callable[[keras.layers.Layer, tf.Tensor], bool]
    forward: Callable[[keras.layers.Layer, Callable, tf.Tensor], Recorded]
    terms: Callable[[keras.layers.Layer, Recorded, Sequence[tf.Tensor]], dict[str, Term]]


def before_activation(layer: keras.layers.Layer, call: Callable, x: tf.Tensor) -> Recorded:
    """Runs a layer, and taps its output before the activation."""
    activation = layer.activation
    object.__setattr__(layer, "activation", None)
    try:
        output = call(x)
    finally:
        object.__setattr__(layer, "activation", activation)
    return Recorded(output=output if activation is None else activation(output), taps=(output,), saved=(x,))


def static(x: tf.Tensor, rank: int) -> bool:
    """Whether x has this rank and every axis but the first has a known length."""
    return x.shape.rank == rank and None not in x.shape[1:]
