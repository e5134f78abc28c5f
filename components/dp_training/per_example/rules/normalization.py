"""GroupNormalization and LayerNormalization: they normalise within an example, then scale and shift by weights."""

import contextlib

import tensorflow as tf

from components.common.legacy_keras import keras
from components.dp_training.per_example.rules.rule import Recorded, Rule
from components.dp_training.per_example.terms import Direct


def _forward(layer, call, x: tf.Tensor) -> Recorded:
    """The layer, and once more without its weights: what of it is the same work, the graph does once."""
    output = call(x)
    with _without_weights(layer):
        normalised = call(x)
    return Recorded(output=output, taps=(output,), saved=(normalised,))


@contextlib.contextmanager
def _without_weights(layer):
    """Past Keras's attribute tracking, which would list the weights anew."""
    bare = {"gamma": None, "beta": None} | ({"scale": False, "center": False} if hasattr(layer, "groups") else {})
    had = {name: getattr(layer, name) for name in bare}
    try:
        for name, value in bare.items():
            object.__setattr__(layer, name, value)
        yield
    finally:
        for name, value in had.items():
            object.__setattr__(layer, name, value)


def _terms(layer, recorded, gradients):
    """x̂ the normalised input and g the gradient at the output, [m, ...] both: the scale's gradient is x̂ g and the
    shift's g, summed over the axes that share a weight."""
    (normalised,), (g,) = recorded.saved, gradients
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    own = {axis % g.shape.rank for axis in axes}
    shared = [axis for axis in range(1, g.shape.rank) if axis not in own]
    terms = {} if layer.gamma is None else {"gamma": Direct(tf.reduce_sum(normalised * g, shared))}
    return terms | ({} if layer.beta is None else {"beta": Direct(tf.reduce_sum(g, shared))})


def _fits_groups(layer: keras.layers.GroupNormalization, x: tf.Tensor) -> bool:
    return x.shape.rank is not None and layer.axis % x.shape.rank != 0


def _fits_layer(layer: keras.layers.LayerNormalization, x: tf.Tensor) -> bool:
    if not isinstance(x, tf.Tensor) or x.shape.rank is None:
        return False
    axes = [axis % x.shape.rank for axis in layer.axis]
    return 0 not in axes and axes == sorted(axes)


RULES = (
    Rule(
        layer=keras.layers.GroupNormalization,
        weights=("gamma", "beta"),
        fits=_fits_groups,
        forward=_forward,
        terms=_terms,
    ),
    Rule(
        layer=keras.layers.LayerNormalization,
        weights=("gamma", "beta"),
        fits=_fits_layer,
        forward=_forward,
        terms=_terms,
    ),
)
