"""Reaching the layers of any model, nested or shared, and giving one another `call` for a while."""

import contextlib
from collections.abc import Callable, Iterator

import tensorflow as tf

from components.common.legacy_keras import keras


def leaves(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers of a model and of the models in it, each once; a layer that is made of others is one."""
    found: dict[int, keras.layers.Layer] = {}
    for layer in model._flatten_layers(recursive=False, include_self=False):
        parts = leaves(layer) if isinstance(layer, keras.Model) else [layer]
        found.update({id(part): part for part in parts})
    return list(found.values())


@contextlib.contextmanager
def replaced_call(layer: keras.layers.Layer, call: Callable) -> Iterator[None]:
    """Gives one layer another `call`, past Keras's attribute tracking."""
    had = layer.__dict__.get("call")
    object.__setattr__(layer, "call", tf.autograph.experimental.do_not_convert(call))
    try:
        yield
    finally:
        if had is None:
            object.__delattr__(layer, "call")
        else:
            object.__setattr__(layer, "call", had)
