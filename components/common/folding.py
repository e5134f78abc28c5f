"""BatchNormalization folded into the layer before it, as TFLite's converter will, before a stage looks at the weights.

A kernel that is clustered first and scaled channel by channel afterwards has no few values left, and weights of
different channels can only be compared after the scaling. Its shift becomes the layer's bias, which stages then train:
few values leave little else to correct a channel's mean with. The normalization stays in the model, frozen, as nothing.
"""

import numpy as np

from components.common.calls import leaves
from components.common.legacy_keras import keras

_LAYERS = keras.layers
_BEFORE = {  # the kernel's attribute, and the axes that the normalized channels are made of
    _LAYERS.Dense: ("kernel", (-1,)),
    _LAYERS.Conv1D: ("kernel", (-1,)),
    _LAYERS.Conv2D: ("kernel", (-1,)),
    _LAYERS.Conv2DTranspose: ("kernel", (-2,)),
    _LAYERS.DepthwiseConv2D: ("depthwise_kernel", (-2, -1)),
    _LAYERS.SeparableConv1D: ("pointwise_kernel", (-1,)),
    _LAYERS.SeparableConv2D: ("pointwise_kernel", (-1,)),
}


def fold_normalization(model: keras.Model) -> None:
    """Folds, in place, each BatchNormalization of the last axis that alone follows a convolution or Dense layer without
    an activation; the model, of which no function was traced yet, computes the same as before in inference."""
    for layer in leaves(model):
        before = _layer_before(layer)
        if before is not None:
            _fold(before, layer)


def scale_of(normalization: keras.layers.BatchNormalization) -> np.ndarray:
    """What it multiplies each channel by in inference, float32 [channels]."""
    gamma = normalization.gamma.numpy() if normalization.scale else 1.0
    return gamma / np.sqrt(normalization.moving_variance.numpy() + normalization.epsilon)


def _fold(before: keras.layers.Layer, normalization: keras.layers.BatchNormalization) -> None:
    mean, variance, scale = normalization.moving_mean.numpy(), normalization.moving_variance, scale_of(normalization)
    beta = normalization.beta.numpy() if normalization.center else 0.0
    attribute, axes = _BEFORE[type(before)]
    kernel = getattr(before, attribute)
    shape = [size if axis - len(kernel.shape) in axes else 1 for axis, size in enumerate(kernel.shape)]
    kernel.assign(kernel * scale.reshape(shape))
    if not before.use_bias:
        before.use_bias = True
        before.bias = before.add_weight(name=f"{before.name}/bias", shape=mean.shape, initializer="zeros")
    before.bias.assign((before.bias - mean) * scale + beta)
    normalization.trainable = False
    normalization.moving_variance.assign(np.full_like(variance, 1 - normalization.epsilon))
    normalization.moving_mean.assign(np.zeros_like(mean))
    if normalization.scale:
        normalization.gamma.assign(np.ones_like(variance))
    if normalization.center:
        normalization.beta.assign(np.zeros_like(variance))


def _layer_before(layer: keras.layers.Layer) -> keras.layers.Layer | None:
    """The layer whose kernel a normalization can be folded into, None if there is none."""
    if type(layer) is not _LAYERS.BatchNormalization or len(layer.inbound_nodes) != 1:
        return None
    before = layer.inbound_nodes[0].inbound_layers
    if type(before) not in _BEFORE or before.activation is not keras.activations.linear:
        return None
    alone = len(before.inbound_nodes) == len(before.outbound_nodes) == 1
    last = list(layer.axis) == [len(before.output_shape) - 1]
    return before if alone and last else None
