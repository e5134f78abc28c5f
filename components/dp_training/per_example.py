"""Per-example clipping: the sum over a batch of gradients that were each clipped to an l2 norm.

Dense and Conv2D have closed forms: one forward and one backward pass give each layer's input and the gradient at its
output before the activation, and from these follow every example's gradient norm and the clipped sum. Where gradients
were materialised for the norm, the clip weights contract them, so there is no second backward pass. A model with any
other layer that has weights falls back to `tf.vectorized_map` over examples.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator

import tensorflow as tf

from components.common.errors import ModelError
from components.common.legacy_keras import keras

_TINY = 1e-12


def clipped_gradient_sum(
    model: keras.Model, images: tf.Tensor, labels: tf.Tensor, present: tf.Tensor, l2_norm_clip: float
) -> list[tf.Tensor]:
    """Sums the clipped per-example gradients of the cross entropy.

    Args:
        model: returns logits [n, classes].
        images: float32 [n, height, width, channels].
        labels: int64 [n].
        present: float32 [n], 1 for an example, 0 for padding, which adds nothing.
        l2_norm_clip: bound on the l2 norm of one example's gradient over all trainable variables.

    Returns:
        One tensor a trainable variable of the model, in its order.
    """
    layers = weighted_layers(model)
    if not all(_has_closed_form(layer) for layer in layers):
        return _vectorized(model, images, labels, present, l2_norm_clip)
    with tf.GradientTape() as tape, _captured(layers) as calls:
        loss = tf.reduce_sum(_losses(model, images, labels))
    if len(calls) != len(layers):
        return _vectorized(model, images, labels, present, l2_norm_clip)
    output_gradients = tape.gradient(loss, [output for _, _, output in calls])
    parts = [_RULES[type(layer)](layer, x, g) for (layer, x, _), g in zip(calls, output_gradients, strict=True)]
    squared_norm = tf.add_n([squared for squared, _ in parts])
    weights = present * tf.minimum(1.0, l2_norm_clip * tf.math.rsqrt(squared_norm + _TINY))
    sums = {}
    for (layer, _, _), (_, contract) in zip(calls, parts, strict=True):
        sums.update({v.ref(): s for v, s in zip(layer.trainable_weights, contract(weights), strict=True)})
    return [sums[v.ref()] for v in model.trainable_variables]


def check_trainable_privately(model: keras.Model) -> None:
    """Raises ModelError for layers in which an example's output depends on the others in the batch, and says once,
    by name, which layers have no closed form."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            raise ModelError(
                f"layer {layer.name} must not mix examples: BatchNormalization has no per-example gradient. "
                "Use GroupNormalization instead"
            )
    slow = [layer.name for layer in weighted_layers(model) if not _has_closed_form(layer)]
    if slow:
        logging.warning("no closed form for layers %s: per-example gradients by tf.vectorized_map", ", ".join(slow))


def weighted_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The innermost layers that have trainable weights, each once."""
    leaves = [layer for layer in model._flatten_layers(include_self=False) if layer.trainable_weights]
    return [layer for layer in leaves if not any(True for _ in layer._flatten_layers(include_self=False))]


def _has_closed_form(layer: keras.layers.Layer) -> bool:
    """Exactly Dense on vectors, or Conv2D on channels-last images in one group."""
    if type(layer) is keras.layers.Conv2D:
        return layer.groups == 1 and layer.data_format == "channels_last"
    return type(layer) is keras.layers.Dense and len(layer.input_shape) == 2


def _losses(model: keras.Model, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, model(images, training=True))


@contextlib.contextmanager
def _captured(layers: list[keras.layers.Layer]) -> Iterator[list[tuple]]:
    """Records (layer, input, output before the activation) of each call that is made while the context is open."""
    calls: list[tuple] = []

    def recording(layer: keras.layers.Layer, activation: Callable, call: Callable) -> Callable:
        def recorded(inputs):
            output = call(inputs)
            calls.append((layer, inputs, output))
            return activation(output)

        return recorded

    originals = [(layer, layer.activation, layer.call) for layer in layers]
    for layer, activation, call in originals:
        layer.activation = None
        layer.call = recording(layer, activation, call)
    try:
        yield calls
    finally:
        for layer, activation, _ in originals:
            layer.activation = activation
            del layer.call


def _dense(layer: keras.layers.Dense, x: tf.Tensor, g: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """x [n, in], g [n, out]: the gradient is their outer product, whose norm factors (Goodfellow 2015,
    arXiv:1510.01799)."""
    biased = 1.0 if layer.use_bias else 0.0
    squared = tf.reduce_sum(g**2, 1) * (tf.reduce_sum(x**2, 1) + biased)

    def contract(weights: tf.Tensor) -> list[tf.Tensor]:
        weighted = g * weights[:, None]
        return [tf.matmul(x, weighted, transpose_a=True)] + ([tf.reduce_sum(weighted, 0)] if layer.use_bias else [])

    return squared, contract


def _conv2d(layer: keras.layers.Conv2D, x: tf.Tensor, g: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """x [n, h, w, c], g [n, i, j, f]: the gradient is patches of x, transposed, times g (Rochette et al. 2019,
    arXiv:1912.06015), materialised as [n, kernel_h * kernel_w * c, f]."""
    height, width = layer.kernel_size
    patches = tf.image.extract_patches(
        x, [1, height, width, 1], [1, *layer.strides, 1], [1, *layer.dilation_rate, 1], layer.padding.upper()
    )
    n, positions = tf.shape(g)[0], g.shape[1] * g.shape[2]
    flat = tf.reshape(g, [n, positions, layer.filters])
    kernels = tf.matmul(tf.reshape(patches, [n, positions, patches.shape[-1]]), flat, transpose_a=True)
    biases = tf.reduce_sum(flat, 1)
    squared = tf.reduce_sum(kernels**2, [1, 2]) + (tf.reduce_sum(biases**2, 1) if layer.use_bias else 0.0)

    def contract(weights: tf.Tensor) -> list[tf.Tensor]:
        kernel = tf.reshape(tf.tensordot(weights, kernels, 1), layer.kernel.shape)
        return [kernel] + ([tf.tensordot(weights, biases, 1)] if layer.use_bias else [])

    return squared, contract


def _vectorized(
    model: keras.Model, images: tf.Tensor, labels: tf.Tensor, present: tf.Tensor, l2_norm_clip: float
) -> list[tf.Tensor]:
    """The same for any model whose examples do not mix: one gradient an example, all held at once."""

    def gradient(example: tuple[tf.Tensor, tf.Tensor]) -> list[tf.Tensor]:
        image, label = example
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(_losses(model, image[None], label[None]))
        return tape.gradient(loss, model.trainable_variables, unconnected_gradients="zero")

    gradients = tf.vectorized_map(gradient, (images, labels))
    squared_norm = tf.add_n([tf.reduce_sum(tf.reshape(g, [tf.shape(g)[0], -1]) ** 2, 1) for g in gradients])
    weights = present * tf.minimum(1.0, l2_norm_clip * tf.math.rsqrt(squared_norm + _TINY))
    return [tf.tensordot(weights, g, 1) for g in gradients]


_RULES: dict[type, Callable] = {keras.layers.Dense: _dense, keras.layers.Conv2D: _conv2d}
