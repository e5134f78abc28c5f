"""A layer without a closed form: its per-example gradients by `tf.vectorized_map` over its own call.

Only the layer is run again, on its recorded input and the gradient at its output; the rest of the model keeps its
closed forms. The layer must do the same when it runs again, so one that draws random numbers is left to
`whole_model_terms`.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from components.common.legacy_keras import keras
from components.dp_training.per_example.rules.rule import Recorded
from components.dp_training.per_example.terms import Direct
from components.dp_training.per_example.vectorized import over_rows

_RATES = ("rate", "dropout", "recurrent_dropout", "stddev")


def repeats_itself(layer: keras.layers.Layer) -> bool:
    """Whether the layer draws no random numbers, so that running it again gives the same output."""
    return not any(_is_random(part) for part in layer._flatten_layers())


def _is_random(layer: keras.layers.Layer) -> bool:
    rates = [getattr(layer, name) for name in _RATES if hasattr(layer, name)]
    return hasattr(layer, "_random_generator") and (not rates or any(rates))


def forward(call: Callable, args: tuple, kwargs: dict) -> Recorded:
    """Runs the layer; each tensor among its arguments has a row per example."""
    output = call(*args, **kwargs)
    return Recorded(output=output, taps=tuple(tf.nest.flatten(output)), saved=(call, args, kwargs))


def terms(recorded: Recorded, weights: Sequence[tf.Variable], gradients: Sequence[tf.Tensor]) -> list[Direct]:
    """One term a weight; every row's gradient is held at once."""
    call, *arguments = recorded.saved
    flat = tf.nest.flatten(arguments)
    places = [index for index, value in enumerate(flat) if tf.is_tensor(value)]

    def one(row):
        inputs, at_output = row
        again = list(flat)
        for place, value in zip(places, inputs, strict=True):
            again[place] = value[None]
        args, kwargs = tf.nest.pack_sequence_as(arguments, again)
        with tf.GradientTape() as tape:
            output = tf.nest.flatten(call(*args, **kwargs))
        found = tape.gradient(output, weights, [g[None] for g in at_output], unconnected_gradients="zero")
        return [tf.convert_to_tensor(g) for g in found]

    return [Direct(g) for g in over_rows(one, ([flat[place] for place in places], list(gradients)))]
