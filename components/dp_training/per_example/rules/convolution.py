"""Conv1D, Conv2D, DepthwiseConv2D and SeparableConv2D: any stride, dilation, padding and number of groups."""

import numpy as np
import tensorflow as tf

from components.common.legacy_keras import keras
from components.dp_training.per_example.patches import Window, patches, strips, strips_are_cheaper, window
from components.dp_training.per_example.rules.rule import Recorded, Rule, before_activation, static
from components.dp_training.per_example.terms import Direct, Outer


def _fits_images(layer, x: tf.Tensor) -> bool:
    return layer.data_format == "channels_last" and static(x, 4)


def _fits_sequences(layer: keras.layers.Conv1D, x: tf.Tensor) -> bool:
    return layer.data_format == "channels_last" and static(x, 3)


def _convolution(layer, recorded, gradients):
    """x [m, (h,) w, c], g [m, (i,) j, f]: per channel group, the gradient is the windows of x, transposed, times g
    (Rochette et al. 2019, arXiv:1912.06015). A sequence is an image of one row."""
    (x,), (g,) = recorded.saved, gradients
    one = (1,) if x.shape.rank == 3 else ()
    x = x[:, None] if one else x
    geometry = [(*one, *value) for value in (layer.kernel_size, layer.strides, layer.dilation_rate)]
    win = window(x.shape[1:3], *geometry, layer.padding)
    g = tf.reshape(g, [-1, int(np.prod(g.shape[1:-1])), layer.filters])
    terms = {"kernel": _kernel_term(layer, x, g, win)}
    return terms | ({"bias": Direct(tf.reduce_sum(g, 1))} if layer.use_bias else {})


def _kernel_term(layer, x: tf.Tensor, g: tf.Tensor, win: Window) -> Outer:
    shape = (*layer.kernel_size, x.shape[-1] // layer.groups, layer.filters)
    if layer.groups == 1 and strips_are_cheaper(x, win):
        return Outer(strips(x, win), g[:, None], shape, blocks_first=True)
    return Outer(*_by_group(patches(x, win), g, layer.groups, x.shape[-1]), shape)


def _by_group(read: tf.Tensor, g: tf.Tensor, groups: int, channels: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Windows [m, p, k * channels] and gradients [m, p, f] as [m, groups, p, k * channels / groups] and
    [m, groups, p, f / groups]; as they are for one group."""
    if groups == 1:
        return read, g
    positions, within = read.shape[1], channels // groups
    read = tf.transpose(tf.reshape(read, [-1, positions, read.shape[2] // channels, groups, within]), [0, 3, 1, 2, 4])
    g = tf.transpose(tf.reshape(g, [-1, positions, groups, g.shape[2] // groups]), [0, 2, 1, 3])
    return tf.reshape(read, [-1, groups, positions, read.shape[3] * within]), g


def _depthwise_term(layer, x: tf.Tensor, g: tf.Tensor) -> Outer:
    """x [m, h, w, c], g [m, i, j, c * multiplier]: a convolution with as many groups as channels."""
    channels = x.shape[-1]
    read = patches(x, window(x.shape[1:3], layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding))
    g = tf.reshape(g, [-1, read.shape[1], channels * layer.depth_multiplier])
    return Outer(*_by_group(read, g, channels, channels), (*layer.kernel_size, channels, layer.depth_multiplier))


def _depthwise(layer, recorded, gradients):
    (x,), (g,) = recorded.saved, gradients
    terms = {"depthwise_kernel": _depthwise_term(layer, x, g)}
    return terms | ({"bias": Direct(tf.reduce_sum(g, [1, 2]))} if layer.use_bias else {})


def _separable_forward(layer: keras.layers.SeparableConv2D, call, x: tf.Tensor) -> Recorded:
    """tf.nn.separable_conv2d in its two halves, to tap what lies between."""
    padding, strides = layer.padding.upper(), [1, *layer.strides, 1]
    middle = tf.nn.depthwise_conv2d(x, layer.depthwise_kernel, strides, padding, dilations=layer.dilation_rate)
    output = tf.nn.conv2d(middle, layer.pointwise_kernel, 1, "VALID")
    output = tf.nn.bias_add(output, layer.bias) if layer.use_bias else output
    activated = output if layer.activation is None else layer.activation(output)
    return Recorded(output=activated, taps=(middle, output), saved=(x, middle))


def _separable(layer, recorded, gradients):
    (x, middle), (at_middle, g) = recorded.saved, gradients
    positions, width = g.shape[1] * g.shape[2], middle.shape[-1]
    g = tf.reshape(g, [-1, positions, layer.filters])
    pointwise = Outer(tf.reshape(middle, [-1, positions, width]), g, (1, 1, width, layer.filters))
    terms = {"depthwise_kernel": _depthwise_term(layer, x, at_middle), "pointwise_kernel": pointwise}
    return terms | ({"bias": Direct(tf.reduce_sum(g, 1))} if layer.use_bias else {})


RULES = (
    Rule(
        layer=keras.layers.Conv1D,
        weights=("kernel", "bias"),
        fits=_fits_sequences,
        forward=before_activation,
        terms=_convolution,
    ),
    Rule(
        layer=keras.layers.Conv2D,
        weights=("kernel", "bias"),
        fits=_fits_images,
        forward=before_activation,
        terms=_convolution,
    ),
    Rule(
        layer=keras.layers.DepthwiseConv2D,
        weights=("depthwise_kernel", "bias"),
        fits=_fits_images,
        forward=before_activation,
        terms=_depthwise,
    ),
    Rule(
        layer=keras.layers.SeparableConv2D,
        weights=("depthwise_kernel", "pointwise_kernel", "bias"),
        fits=_fits_images,
        forward=_separable_forward,
        terms=_separable,
    ),
)
