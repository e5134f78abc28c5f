"""Giving a layer another `call` for a while, in any model, nested or shared."""

import contextlib
from collections.abc import Callable, Iterator

import tensorflow as tf

from components.common.legacy_keras import keras


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
