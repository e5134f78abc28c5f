"""Compensation in a whole model: what each layer is fed, as the model is by then, and the change that knows of it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from components.common.calls import replaced_call
from components.common.compensation import Inputs, bias_shift, inputs_of
from components.common.errors import ModelError
from components.common.examples import read_split, scaled
from components.common.kernels import Kernel, kernels
from components.common.legacy_keras import keras
from components.dp_training.synthetic import random_images

_VALUES = 1 << 23  # pixels, times channels, of all images together: 10,699 of 28x28x1
_LEAST_IMAGES = 500  # where there are so many: patches of one image are much alike
_ROWS = 4  # of each input of a layer, that are enough to know its correlations
_BATCH = 250  # images
_BATCH_VALUES = 1 << 23  # of patches
_MOST_INPUTS = 6000  # whose covariance takes 144 MB

Change = Callable[[str, np.ndarray, Inputs], np.ndarray]


def public_inputs(source: str, examples_uri: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """As many public images as compensation looks at, float32 [n, …]; None where they are not the source."""
    return scaled(read_split(examples_uri, "public", shape, _most(shape)).images) if source == "public" else None


def images_for(source: str, model: keras.Model, public: Any) -> list[np.ndarray]:
    """What `model` is fed, float32 [n, …] for each of its inputs.

    Args:
        source: `random` or `public`.
        public: float32 inputs of the public split, [n, …] for each input of the model; None where it is not the source.

    Raises:
        ModelError: there are no public inputs, or the model takes other shapes, or, for random ones, no images.
    """
    wanted = [tuple(taken.shape[1:]) for taken in model.inputs]
    widest = max((_width(kernel) for kernel in kernels(model).values()), default=0)
    count = min(max(_LEAST_IMAGES, _ROWS * widest), *(_most(shape) for shape in wanted))
    if source == "random":
        if any(len(shape) != 3 for shape in wanted):
            raise ModelError(f"random images must fit inputs of [height, width, channels]. Received: {wanted}")
        return [random_images(count, shape, seed) for seed, shape in enumerate(wanted)]
    given = [] if public is None else [np.asarray(a, np.float32) for a in tf.nest.flatten(public)]
    shapes = [a.shape[1:] for a in given]
    if shapes != wanted or not all(len(a) for a in given):
        raise ModelError(f"public inputs must be there, of shapes {wanted}, to compensate with. Received: {shapes}")
    return [a[:count] for a in given]


def compensate(model: keras.Model, found: dict[str, Kernel], images: list, change: Change) -> dict[str, str]:
    """Changes kernels in place from input to output, each by what it is fed in the model as it is by then, and their
    biases so that mean outputs stay.

    Args:
        found: kernels of `model` by name, in order.
        images: float32 [n, …] for each input of the model, see `images_for`.
        change: from a kernel's name, the kernel as a float32 matrix [inputs, outputs] and its inputs to another matrix.

    Returns:
        Why kernels that it cannot do were left alone, by name.
    """
    spared = {}
    for name, kernel in found.items():
        reason = _unfit(kernel)
        if reason is None:
            inputs = _inputs_of(model, kernel, images)
            before = kernel.variable.numpy().reshape(-1, kernel.variable.shape[-1])
            after = change(name, before, inputs)
            kernel.variable.assign(after.reshape(kernel.variable.shape))
            if kernel.layer.use_bias:
                kernel.layer.bias.assign_add(bias_shift(before, after, inputs))
        else:
            spared[name] = f"compressed without compensation: {reason}"
    return spared


def _most(shape: tuple[int, ...]) -> int:
    return max(_LEAST_IMAGES, _VALUES // math.prod(shape))


def _width(kernel: Kernel) -> int:
    """Number of inputs of one output."""
    return math.prod(kernel.variable.shape[:-1])


def _unfit(kernel: Kernel) -> str | None:
    """Why a kernel cannot be compensated, None if it can."""
    layer, width = kernel.layer, _width(kernel)
    if type(layer) not in _ROWS_OF:
        return f"there is no rule for the inputs of layers of type {type(layer).__name__}"
    if getattr(layer, "groups", 1) != 1 or getattr(layer, "data_format", "channels_last") != "channels_last":
        return "its channels have groups, or come first"
    if width > _MOST_INPUTS:
        return f"{width:,} inputs are more than {_MOST_INPUTS:,}, whose covariance would take too much memory"
    return None


def _inputs_of(model: keras.Model, kernel: Kernel, images: list[np.ndarray]) -> Inputs:
    """The moments of what a layer is fed, summed over its calls where it is shared."""
    rows_of = _rows_of(model, kernel.layer)
    an_image, width = rows_of(*(a[:1] for a in images)).shape
    count = max(_LEAST_IMAGES, -(-_ROWS * width // an_image))
    size = max(1, min(_BATCH, _BATCH_VALUES // (an_image * width)))
    stop = min(count, len(images[0]))
    batches = (rows_of(*(a[i : min(i + size, stop)] for a in images)).numpy() for i in range(0, stop, size))
    return inputs_of(batches, about_mean=kernel.layer.use_bias)


def _rows_of(model: keras.Model, layer: keras.layers.Layer) -> Callable[..., tf.Tensor]:
    """A function of a batch of the model's inputs: float32 [n, d] of what `layer` is fed. TensorFlow leaves out what
    comes after the layer."""
    call, fed = layer.call, [tf.TensorSpec([None, *taken.shape[1:]], tf.float32) for taken in model.inputs]

    @tf.function(autograph=False, input_signature=fed)
    def rows_of(*inputs):
        seen = []

        def seeing(x, *arguments, **keywords):
            seen.append(_ROWS_OF[type(layer)](layer, x))
            return call(x, *arguments, **keywords)

        with replaced_call(layer, seeing):
            model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)
        return tf.concat(seen, 0)

    return rows_of


def _dense_rows(layer: keras.layers.Dense, x: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, [-1, layer.kernel.shape[0]])


def _conv2d_rows(layer: keras.layers.Conv2D, x: tf.Tensor) -> tf.Tensor:
    """Patches with their values in the kernel's order: rows, columns, channels."""
    return _patches(x, layer, layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding)


def _conv1d_rows(layer: keras.layers.Conv1D, x: tf.Tensor) -> tf.Tensor:
    (size,), (stride,), (rate,), padding = layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding
    if padding == "causal":
        x, padding = tf.pad(x, [[0, 0], [rate * (size - 1), 0], [0, 0]]), "valid"
    return _patches(x[:, None], layer, (1, size), (1, stride), (1, rate), padding)


def _patches(x, layer, sizes, strides, rates, padding: str) -> tf.Tensor:
    found = tf.image.extract_patches(x, [1, *sizes, 1], [1, *strides, 1], [1, *rates, 1], padding.upper())
    return tf.reshape(found, [-1, math.prod(layer.kernel.shape[:-1])])


_ROWS_OF = {
    keras.layers.Dense: _dense_rows,
    keras.layers.Conv1D: _conv1d_rows,
    keras.layers.Conv2D: _conv2d_rows,
}
