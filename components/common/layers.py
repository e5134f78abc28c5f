"""Which layers the compression stages change, and how a model is rebuilt with some of them wrapped."""

from collections.abc import Callable

import numpy as np

from components.common.errors import ModelError
from components.common.legacy_keras import keras

COMPRESSED = (keras.layers.Conv2D, keras.layers.Dense)


def is_compressed(layer: keras.layers.Layer) -> bool:
    """Whether stages change this layer: exactly Conv2D or Dense. DepthwiseConv2D, normalization and all else stay."""
    return type(layer) in COMPRESSED


def wrap_compressed(model: keras.Model, wrap: Callable[[keras.layers.Layer], keras.layers.Layer]) -> keras.Model:
    """A copy of `model`, with its weights, in which `wrap` was applied to every compressed layer.

    Raises:
        ModelError: the weights are not finite, or there is no layer to compress.
    """
    if not all(np.all(np.isfinite(w)) for w in model.get_weights()):
        raise ModelError(f"model {model.name} must have finite weights. Received: NaN or infinity")
    if not any(is_compressed(layer) for layer in model._flatten_layers()):
        raise ModelError(f"model {model.name} must have a Conv2D or Dense layer to compress. Received: none")
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return keras.models.clone_model(copy, clone_function=lambda layer: wrap(layer) if is_compressed(layer) else layer)


def kernels(model: keras.Model) -> dict[str, np.ndarray]:
    """The kernels of the compressed layers by layer name, float32, output channels last."""
    return {layer.name: layer.kernel.numpy() for layer in model._flatten_layers() if is_compressed(layer)}
