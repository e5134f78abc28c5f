"""The weights that compression stages change, wherever in a model they are, and why all others stay."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from components.common.errors import ModelError
from components.common.folding import fold_normalization
from components.common.legacy_keras import keras

_LAYERS = keras.layers
_ATTRIBUTES = {  # what TFLite runs as a convolution or a matrix product
    _LAYERS.Dense: "kernel",
    _LAYERS.Conv1D: "kernel",
    _LAYERS.Conv2D: "kernel",
    _LAYERS.Conv2DTranspose: "kernel",
    _LAYERS.SeparableConv1D: "pointwise_kernel",
    _LAYERS.SeparableConv2D: "pointwise_kernel",
}
_DEPTHWISE = (
    *(_LAYERS.DepthwiseConv1D, _LAYERS.DepthwiseConv2D),
    *(_LAYERS.SeparableConv1D, _LAYERS.SeparableConv2D),
)
_REASONS = {
    _LAYERS.DepthwiseConv2D: "a depthwise kernel has a handful of weights a channel, and each counts",
    _LAYERS.DepthwiseConv1D: "a depthwise kernel has a handful of weights a channel, and each counts",
    _LAYERS.BatchNormalization: "normalization is folded into the kernel before it where it can be, and small",
    _LAYERS.GroupNormalization: "normalization has a few weights a channel, and each counts",
    _LAYERS.LayerNormalization: "normalization has a few weights a channel, and each counts",
}
_UNKNOWN = "no rule for layers of type {}"
_SINGLE = "a single weight has nothing to share or to spare"


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One weight that stages may change. name: of its layer, with the names of the models around it ("block/conv");
    variable: float32, output channels last, but second last for `transposed` kernels (Conv2DTranspose)."""

    name: str
    layer: keras.layers.Layer
    variable: tf.Variable

    @property
    def transposed(self) -> bool:
        """Whether output channels come second last."""
        return isinstance(self.layer, _LAYERS.Conv2DTranspose)

    @property
    def channel_axis(self) -> int:
        """The axis of the output channels."""
        return len(self.variable.shape) - (2 if self.transposed else 1)


def kernels(model: keras.Model) -> dict[str, Kernel]:
    """The kernels that stages may change by name, in the order of the layers; a shared layer's comes once."""
    found = {}
    for name, layer in _named_layers(model):
        attribute = _ATTRIBUTES.get(type(layer))
        if attribute and _size(getattr(layer, attribute)) > 1:
            found[name] = Kernel(name=name, layer=layer, variable=getattr(layer, attribute))
    return found


def depthwise_kernels(model: keras.Model) -> list[tf.Variable]:
    """The kernels of the depthwise convolutions, [..., channels, multiplier], which only quantization changes."""
    layers = [layer for _, layer in _named_layers(model)]
    return [layer.depthwise_kernel for layer in layers if type(layer) in _DEPTHWISE]


def skipped(model: keras.Model) -> dict[str, str]:
    """Why the layers that have weights and are not among `kernels` stay as they are, by name."""
    changed, found = kernels(model), {}
    for name, layer in _named_layers(model):
        if layer.weights and name not in changed:
            unknown = _UNKNOWN.format(type(layer).__name__)
            found[name] = _SINGLE if type(layer) in _ATTRIBUTES else _REASONS.get(type(layer), unknown)
    return found


def require_known(stage: str, layers: Iterable[str], found: dict[str, Kernel]) -> None:
    """Raises ModelError if `layers` of a stage's settings name one that is not among the kernels `found`."""
    unknown = sorted(set(layers) - set(found))
    if unknown:
        raise ModelError(f"`layers` of {stage} must name layers of {', '.join(found)}. Received: {unknown[0]}")


def plain_copy(model: keras.Model) -> keras.Model:
    """A copy of a Sequential or functional model with its weights, as it is."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def copy_of(model: keras.Model) -> keras.Model:
    """A copy of `model` with its weights, normalization folded in, after it was found fit to be compressed.

    Raises:
        ModelError: the weights are not finite, there is no kernel to compress, or the model cannot be rebuilt from its
            configuration.
    """
    require_finite(model)
    if not kernels(model):
        raise ModelError(f"model {model.name} must have a convolution or Dense layer to compress. Received: none")
    try:
        copy = plain_copy(model)
    except (ValueError, NotImplementedError, TypeError) as error:
        reason = (str(error).splitlines() or ["nothing"])[0]
        raise ModelError(f"model {model.name} must be Sequential or functional. Keras says: {reason}") from error
    fold_normalization(copy)
    return copy


def require_finite(model: keras.Model) -> None:
    """Raises ModelError, with the layer's name, if a weight is NaN or infinite."""
    for name, layer in _named_layers(model):
        if not all(np.all(np.isfinite(w)) for w in layer.get_weights()):
            raise ModelError(f"model {model.name} must have finite weights. Received: NaN or infinity in {name}")


def _named_layers(model: keras.Model) -> list[tuple[str, keras.layers.Layer]]:
    """(path, layer) of every layer that holds weights itself, each once."""
    found = {}
    for name, layer in _walk(model, ""):
        found.setdefault(id(layer), (name, layer))
    return list(found.values())


def _walk(layer: keras.layers.Layer, prefix: str) -> Iterator[tuple[str, keras.layers.Layer]]:
    for part in layer._flatten_layers(recursive=False, include_self=False):
        name = f"{prefix}{part.name}"
        if type(part) not in _ATTRIBUTES and any(True for _ in part._flatten_layers(False, False)):
            yield from _walk(part, f"{name}/")
            if not part._trainable_weights and not part._non_trainable_weights:
                continue
        yield name, part


def _size(variable: tf.Variable) -> int:
    return int(np.prod(variable.shape))
