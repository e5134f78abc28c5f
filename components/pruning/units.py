"""Output channels of layers removed whole (Li et al. 2017, arXiv:1608.08710), so that the model becomes smaller and
faster in any format, and the weights that stay lie denser, where a download needs fewer bits to say which they are."""

import numpy as np

from components.common.errors import ModelError
from components.common.legacy_keras import keras

_LAYERS = keras.layers
_WIDTH = {_LAYERS.Dense: "units", _LAYERS.Conv1D: "filters", _LAYERS.Conv2D: "filters"}
_PASSING = (  # what each channel goes through by itself, to stay at its place or to be repeated in its order
    *(_LAYERS.Activation, _LAYERS.ReLU, _LAYERS.Dropout, _LAYERS.Flatten),
    *(_LAYERS.MaxPooling1D, _LAYERS.MaxPooling2D, _LAYERS.AveragePooling1D, _LAYERS.AveragePooling2D),
    *(_LAYERS.GlobalMaxPooling2D, _LAYERS.GlobalAveragePooling2D, _LAYERS.ZeroPadding1D, _LAYERS.ZeroPadding2D),
)


def without_units(model: keras.Model, fractions: dict[str, float]) -> keras.Model:
    """A copy of a model without the output channels that matter least: those of the smallest product of the norms of
    the weights that come in and go out, which no scaling between two layers changes.

    Args:
        model: Sequential or functional, unchanged.
        fractions: in [0, 1), of the channels of each layer that go; one of them stays at least.

    Raises:
        ModelError: no such layer, or its outputs do not go, each by itself, to one convolution or Dense layer alone.
    """
    weights = {layer.name: layer.get_weights() for layer in model.layers}
    widths = {}
    for name, fraction in fractions.items():
        after = _reader_of(model, name)
        outgoing = _by_input(weights[after][0], weights[name][0].shape[-1])
        kept = _strongest(weights[name][0], outgoing, fraction)
        weights[name] = [part[..., kept] for part in weights[name]]
        taken = outgoing[..., kept, :].reshape(*weights[after][0].shape[:-2], -1, outgoing.shape[-1])
        weights[after] = [taken, *weights[after][1:]]
        widths[name] = len(kept)
    copy = keras.models.clone_model(model, clone_function=lambda layer: _narrowed(layer, widths.get(layer.name)))
    for layer in copy.layers:
        layer.set_weights(weights[layer.name])
    return copy


def _reader_of(model: keras.Model, name: str) -> str:
    """The only layer whose kernel reads what a layer puts out."""
    layer = next((layer for layer in model.layers if layer.name == name and type(layer) in _WIDTH), None)
    while layer is not None and len(layer.inbound_nodes) == len(layer.outbound_nodes) == 1:
        layer = layer.outbound_nodes[0].layer
        if type(layer) in _WIDTH and len(layer.inbound_nodes) == 1:
            return layer.name
        if type(layer) not in _PASSING:
            break
    raise ModelError(f"`units` must name layers that one convolution or Dense layer alone reads. Received: {name}")


def _by_input(kernel: np.ndarray, channels: int) -> np.ndarray:
    """A kernel as [..., places that a channel was flattened from, channels, outputs]."""
    return kernel.reshape(*kernel.shape[:-2], -1, channels, kernel.shape[-1])


def _strongest(incoming: np.ndarray, outgoing: np.ndarray, fraction: float) -> np.ndarray:
    """The channels that stay, ascending, int64 [kept]."""
    channels = incoming.shape[-1]
    before = np.linalg.norm(incoming.reshape(-1, channels), axis=0)
    after = np.linalg.norm(np.moveaxis(outgoing, -2, 0).reshape(channels, -1), axis=1)
    return np.sort(np.argsort(before * after)[min(round(fraction * channels), channels - 1) :])


def _narrowed(layer: keras.layers.Layer, width: int | None) -> keras.layers.Layer:
    changed = {} if width is None else {_WIDTH[type(layer)]: width}
    return type(layer).from_config({**layer.get_config(), **changed})
