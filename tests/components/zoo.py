"""The models that every compression stage must handle, by name: small, drawn from a fixed seed, returning logits.

Their weights are no training's, but they are plausible: biases are not zero, and the statistics of batch normalization
are those of the layers' inputs. Images drawn by chance stand for the public split.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.efficientnet_lite0 import efficientnet_lite0
from components.common.legacy_keras import keras
from components.dp_training.models import deployable, scattering_linear
from components.dp_training.synthetic import random_images

layers = keras.layers
GREY, COLOUR, SERIES, CLASSES = (12, 12, 1), (16, 16, 3), (32, 2), 4


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A model of the zoo. build: makes it; small: whether it runs in every test run, not only behind the marker `zoo`;
    int8_error: root mean square of how far int8 scores may lie from Keras', whose variance is 1; close: whether
    classes are by chance so close, or so many, that rounding alone makes another one the first: then scores may lie
    `int8_error` apart on average, and no class is compared; units: a layer whose outputs one other layer alone reads,
    None where there is none."""

    build: Callable[[], keras.Model]
    small: bool = False
    int8_error: float = 0.15
    close: bool = False
    units: str | None = None


def parameters() -> list:
    """The names of all models, for `pytest.mark.parametrize`: those that are not small carry the marker `zoo`, and have
    the time that every case takes on the largest, on one core that is not idle."""
    large = (pytest.mark.zoo, pytest.mark.timeout(3600))
    return [pytest.param(name, marks=() if entry.small else large) for name, entry in ZOO.items()]


def groups() -> list:
    """The same for what one process does for several models at once: all small ones together, the others alone."""
    large = [pytest.param([name], id=name, marks=pytest.mark.zoo) for name in ZOO if name not in SMALL]
    return [pytest.param(SMALL, id="small"), *large]


def make(name: str) -> keras.Model:
    """A fresh model; the same weights each time."""
    keras.utils.set_random_seed(11)
    model = ZOO[name].build()
    _settle(model, public_inputs(model, 64))
    return model


def public_inputs(model: keras.Model, count: int, seed: int = 5) -> list[np.ndarray]:
    """Random public inputs, float32 [count, …] in [0, 1], one array for each input of the model."""
    return [_drawn(count, taken.shape[1:], seed + index) for index, taken in enumerate(model.inputs)]


def _drawn(count: int, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Images, or columns of images where a model takes series [length, channels]."""
    if len(shape) == 2:
        return random_images(count, (shape[0], *shape), seed)[:, :, shape[0] // 2]
    return random_images(count, tuple(shape), seed)


def _settle(model: keras.Model, inputs: list[np.ndarray]) -> None:
    """Moves biases, scales and the like off their start, sets batch normalization to the statistics of its inputs, and
    makes each logit of mean 0 and variance 1."""
    draw = np.random.default_rng(7)
    for weight in model.trainable_weights:
        if len(weight.shape) == 1:
            weight.assign_add(draw.normal(0.0, 0.2, weight.shape))
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    model(inputs, training=True)
    for norm in norms:
        norm.momentum = 0.99
    for name, logits in zip(model.output_names, tf.nest.flatten(model(inputs)), strict=True):
        kernel, bias = model.get_layer(name).get_weights()
        mean, deviation = np.mean(logits, 0), np.std(logits, 0)
        model.get_layer(name).set_weights([kernel / deviation, (bias - mean) / deviation])


def _sequential() -> keras.Model:
    return keras.Sequential(
        [
            layers.Input(GREY, name="image"),
            layers.Conv2D(8, 3, activation="relu", name="conv1"),
            layers.MaxPool2D(name="pool"),
            layers.Conv2D(16, 3, activation="relu", name="conv2"),
            layers.Flatten(name="flatten"),
            layers.Dense(24, activation="relu", name="dense"),
            layers.Dense(CLASSES, name="logits"),
        ],
        name="sequential",
    )


def _residual() -> keras.Model:
    image = layers.Input(GREY, name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(image)
    y = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv1")(x)
    y = layers.Conv2D(8, 3, padding="same", name="conv2")(y)
    return _headed(image, layers.ReLU(name="relu")(layers.Add(name="add")([x, y])), "residual")


def _nested() -> keras.Model:
    """A functional model that holds a Sequential, which holds another."""
    inner = keras.Sequential([layers.Conv2D(8, 3, activation="relu", name="deep"), layers.MaxPool2D()], name="inner")
    outer = keras.Sequential(
        [layers.Conv2D(8, 3, activation="relu", name="shallow"), inner, layers.Conv2D(8, 1, name="after")], name="outer"
    )
    image = layers.Input(GREY, name="image")
    return _headed(image, outer(image), "nested")


def _conv1d() -> keras.Model:
    series = layers.Input(SERIES, name="series")
    x = layers.Conv1D(16, 5, activation="relu", name="conv1")(series)
    x = layers.Conv1D(16, 3, strides=2, activation="relu", name="conv2")(layers.MaxPool1D(name="pool1")(x))
    return keras.Model(series, layers.Dense(CLASSES, name="logits")(layers.Flatten()(x)), name="conv1d")


def _depthwise() -> keras.Model:
    image = layers.Input(COLOUR, name="image")
    x = layers.Conv2D(8, 3, strides=2, activation="relu", name="stem")(image)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu", name="depthwise")(x)
    return _headed(image, layers.Conv2D(16, 1, activation="relu", name="pointwise")(x), "depthwise")


def _separable() -> keras.Model:
    image = layers.Input(COLOUR, name="image")
    x = layers.SeparableConv2D(16, 3, activation="relu", name="separable1")(image)
    x = layers.SeparableConv2D(16, 3, strides=2, activation="relu", name="separable2")(x)
    return _headed(image, x, "separable")


def _folding() -> keras.Model:
    image = x = layers.Input(COLOUR, name="image")
    for index, channels in enumerate((8, 16)):
        x = layers.Conv2D(channels, 3, use_bias=False, name=f"conv{index}")(x)
        x = layers.ReLU(name=f"relu{index}")(layers.BatchNormalization(name=f"norm{index}")(x))
    return _headed(image, x, "folding")


def _norm_first() -> keras.Model:
    image = x = layers.Input(COLOUR, name="image")
    for index, channels in enumerate((8, 16)):
        x = layers.ReLU(name=f"relu{index}")(layers.BatchNormalization(name=f"norm{index}")(x))
        x = layers.Conv2D(channels, 3, padding="same", name=f"conv{index}")(x)
    return _headed(image, x, "norm_first")


def _group_norm() -> keras.Model:
    image = layers.Input(GREY, name="image")
    x = layers.Conv2D(8, 3, name="conv1")(image)
    x = layers.ReLU(name="relu1")(layers.GroupNormalization(2, name="norm1")(x))
    x = layers.GroupNormalization(4, name="norm2")(layers.Conv2D(8, 3, name="conv2")(x))
    return _headed(image, layers.ReLU(name="relu2")(x), "group_norm")


def _inverted_residuals() -> keras.Model:
    image = layers.Input(COLOUR, name="image")
    x = _normed(layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(image), "stem")
    for index, (channels, stride) in enumerate(((8, 1), (16, 2), (16, 1))):
        before, name = x, f"block{index}"
        x = layers.Conv2D(4 * before.shape[-1], 1, use_bias=False, name=f"{name}_expand")(x)
        x = _normed(x, f"{name}_expand")
        x = layers.DepthwiseConv2D(3, stride, "same", use_bias=False, name=f"{name}_depthwise")(x)
        x = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project")(_normed(x, f"{name}_depthwise"))
        x = layers.BatchNormalization(name=f"{name}_project_norm")(x)
        if x.shape == before.shape:
            x = layers.Add(name=f"{name}_add")([before, x])
    return _headed(image, x, "inverted_residuals")


def _shared() -> keras.Model:
    """One convolution called twice on the way, and a nested model called on both halves."""
    image = layers.Input(COLOUR, name="image")
    again = layers.Conv2D(8, 3, padding="same", activation="relu", name="again")
    x = again(again(layers.Conv2D(8, 3, activation="relu", name="stem")(image)))
    halve = keras.Sequential([layers.Input(x.shape[1:]), layers.Conv2D(8, 3, strides=2, name="halve")], name="twice")
    return _headed(image, layers.Concatenate(name="both")([halve(x), halve(layers.ReLU(name="relu")(x))]), "shared")


def _two_inputs() -> keras.Model:
    """The names are not in alphabetical order, which is TFLite's."""
    image, series = layers.Input(GREY, name="picture"), layers.Input(SERIES, name="audio")
    x = layers.Flatten()(layers.Conv2D(8, 3, strides=2, activation="relu", name="conv_picture")(image))
    y = layers.Flatten()(layers.Conv1D(8, 3, strides=4, activation="relu", name="conv_audio")(series))
    joined = layers.Dense(16, activation="relu", name="dense")(layers.Concatenate(name="joined")([x, y]))
    return keras.Model([image, series], layers.Dense(CLASSES, name="logits")(joined), name="two_inputs")


def _two_outputs() -> keras.Model:
    image = layers.Input(GREY, name="image")
    x = layers.Flatten(name="flatten")(layers.Conv2D(8, 3, strides=2, activation="relu", name="conv")(image))
    x = layers.Dense(16, activation="relu", name="dense")(x)
    heads = [layers.Dense(CLASSES, name="kind")(x), layers.Dense(2, name="colour")(x)]
    return keras.Model(image, heads, name="two_outputs")


def _scattering() -> keras.Model:
    model = scattering_linear(GREY, CLASSES)
    head = model.get_layer("logits").kernel
    head.assign(np.random.default_rng(0).normal(size=head.shape))
    return deployable(model)


def _efficientnet() -> keras.Model:
    """On small images. Most of what a layer passes on is above zero: or else, with weights by chance, fifty layers make
    chaos of the rounding of the first."""
    model = efficientnet_lite0((64, 64, 3))
    for layer in model.layers:
        if layer.name.endswith("_norm") and not layer.name.endswith("_project_norm"):
            layer.beta.assign_add(np.ones(layer.beta.shape))
    return model


def _headed(image, x, name: str) -> keras.Model:
    x = layers.Flatten(name="flatten")(layers.AveragePooling2D(2, name="average")(x))
    return keras.Model(image, layers.Dense(CLASSES, name="logits")(x), name=name)


def _normed(x, name: str):
    return layers.ReLU(6.0, name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_norm")(x))


ZOO = {
    "sequential": Entry(build=_sequential, small=True, units="conv2"),
    "residual": Entry(build=_residual, small=True, units="conv1"),
    "nested": Entry(build=_nested),
    "conv1d": Entry(build=_conv1d, units="conv1"),
    "depthwise": Entry(build=_depthwise),
    "separable": Entry(build=_separable),
    "folding": Entry(build=_folding),
    "norm_first": Entry(build=_norm_first, units="conv1"),
    "group_norm": Entry(build=_group_norm),
    "inverted_residuals": Entry(build=_inverted_residuals, small=True),
    "shared": Entry(build=_shared),
    "two_inputs": Entry(build=_two_inputs, units="dense"),
    "two_outputs": Entry(build=_two_outputs, units="conv"),
    "scattering": Entry(build=_scattering, int8_error=0.35, close=True),
    "efficientnet_lite0": Entry(build=_efficientnet, int8_error=0.5, close=True),
}
SMALL = [name for name, entry in ZOO.items() if entry.small]
