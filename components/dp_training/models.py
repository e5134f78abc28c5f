"""Model factories that the config names. All take float32 images in [0, 1] and return logits."""

import numpy as np

from components.common.errors import ConfigError
from components.common.legacy_keras import keras
from components.dp_training.synthetic import random_images
from components.dp_training.wavelet_features import WaveletFeatures, batched
from components.dp_training.whitening import Standardize, whitening


def build(name: str, image_shape: tuple[int, ...], classes: int) -> keras.Model:
    """Builds a model.

    Args:
        name: of a factory.
        image_shape: (height, width, channels) in pixels.
        classes: number of logits.

    Raises:
        ConfigError: the images are too small for the model.
    """
    try:
        return _FACTORIES[name](tuple(image_shape), classes)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        fit = f"`trainer.model` must fit images of {tuple(image_shape)}"
        raise ConfigError(f"{fit}. Received: {name}: {reason}") from None


def tanh_cnn(image_shape: tuple[int, ...], classes: int) -> keras.Model:
    """The small CNN with bounded activations of Papernot et al. 2021 (arXiv:2007.14191, table 1), 26,010 parameters on
    28x28x1: with tanh, clipping loses less of the gradient than with ReLU."""
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input(image_shape, name="image"),
            layers.Rescaling(2.0, -1.0, name="centre"),
            layers.Conv2D(16, 8, strides=2, padding="same", activation="tanh", name="conv1"),
            layers.MaxPool2D(2, 1, name="pool1"),
            layers.Conv2D(32, 4, strides=2, activation="tanh", name="conv2"),
            layers.MaxPool2D(2, 1, name="pool2"),
            layers.Flatten(name="flatten"),
            layers.Dense(32, activation="tanh", name="dense1"),
            layers.Dense(classes, name="logits"),
        ],
        name="tanh_cnn",
    )


def gabor_cnn(image_shape: tuple[int, ...], classes: int) -> keras.Model:
    """A convolution that starts as a bank of Gabor filters, and a linear head that starts at zero; all of it is
    trained. 17,290 parameters on 28x28x1.

    The second normalization centres each channel of each example: without it most of the clip norm goes to what all
    examples share. The filters start as edge detectors, which a private run has no budget to find.
    """
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input(image_shape, name="image"),
            Standardize(name="standardize"),
            layers.ZeroPadding2D(3, name="pad"),
            layers.Conv2D(32, 7, strides=2, activation="relu", name="conv"),
            layers.AveragePooling2D(2, name="pool"),
            Standardize(each_channel=True, name="centre"),
            layers.Flatten(name="flatten"),
            layers.Dense(classes, kernel_initializer="zeros", name="logits"),
        ],
        name="gabor_cnn",
    )
    bank = gabor_filters(32, 7)[:, :, None, :]
    model.get_layer("conv").kernel.assign(np.repeat(bank, image_shape[2], 2) / np.sqrt(image_shape[2]))
    return model


def gabor_filters(count: int, size: int) -> np.ndarray:
    """Gabor filters of unit norm and zero mean, float32 [size, size, count]: four frequencies, orientations in turn,
    phases by chance from a fixed seed."""
    draw = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    envelope = np.exp(-(x**2 + y**2) / (2 * (size / 5) ** 2))
    bank = []
    for index in range(count):
        angle, frequency = np.pi * (4 * index / count % 1), (1.8, 1.2, 0.8, 0.5)[4 * index // count]
        wave = np.cos(frequency * (y * np.cos(angle) + x * np.sin(angle)) + draw.uniform(0, 2 * np.pi))
        bank.append(envelope * wave - np.mean(envelope * wave))
    return np.stack([f / np.linalg.norm(f) for f in bank], -1).astype(np.float32)


def scattering_linear(image_shape: tuple[int, ...], classes: int) -> keras.Model:
    """Fixed wavelet features, whitened with statistics of random images, and a linear head that starts at zero. On
    28x28x1, 10,250 trained parameters; `deployable` then makes one layer of 57,340 of the whitening and the head."""
    features = WaveletFeatures(name="features")
    kernel, bias = _whitening_of(features, image_shape)
    layers = [
        keras.layers.Input(image_shape, name="image"),
        features,
        keras.layers.Dense(len(bias), trainable=False, name="whiten"),
        keras.layers.Dense(classes, kernel_initializer="zeros", name="logits"),
    ]
    model = keras.Sequential(layers, name="scattering_linear")
    model.get_layer("whiten").set_weights([kernel, bias])
    return model


def deployable(model: keras.Model) -> keras.Model:
    """What is shipped of a trained model: nearly the same function, in a form that stands int8. Reads no images of
    anybody's, so it costs no privacy; a model without such a form is returned as it is."""
    names = {layer.name for layer in model.layers}
    if "whiten" in names:
        return _folded(model)
    return _equalised(model) if {"conv", "centre"} <= names else model


def _folded(model: keras.Model) -> keras.Model:
    """For `scattering_linear`: one Dense layer in place of whitening and head, and moduli that are polygons, which err
    by 0.5 % at most."""
    trained = model.get_layer("features")
    features = WaveletFeatures.from_config({**trained.get_config(), "corners": _CORNERS})
    head = keras.layers.Dense(model.output_shape[-1], name="logits")
    made = keras.Sequential([keras.layers.Input(model.input_shape[1:], name="image"), features, head], name=model.name)
    features.set_weights(trained.get_weights())
    (turn, shift), (kernel, bias) = model.get_layer("whiten").get_weights(), model.get_layer("logits").get_weights()
    head.set_weights([turn @ kernel, shift @ kernel + bias])
    return made


def _equalised(model: keras.Model) -> keras.Model:
    """For `gabor_cnn`: all channels of the convolution in the loudest one's range, which `centre` undoes one by one.

    A quantized tensor has one scale: a channel that uses a tenth of the range keeps a tenth of the levels, and the
    normalization spreads their rounding over everything (Nagel et al. 2019, arXiv:1906.04721, section 3.2). Ranges
    are taken on random images.
    """
    before = model.layers[: [layer.name for layer in model.layers].index("centre")]
    front = keras.Sequential([keras.layers.Input(model.input_shape[1:]), *before])
    images = random_images(_EQUALISING_IMAGES, model.input_shape[1:])
    ranges = np.quantile(front.predict(images, verbose=0), 0.999, axis=(0, 1, 2))
    conv = model.get_layer("conv")
    conv.set_weights([w * np.where(ranges > 0, ranges.max() / ranges, 1.0) for w in conv.get_weights()])
    return model


def _whitening_of(features: WaveletFeatures, image_shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Adapts `features` to random images, and returns the whitening of what comes out."""
    images = random_images(_RANDOM_IMAGES, image_shape)
    features.adapt(images)
    return whitening(batched(features, images), _DIRECTIONS)


_RANDOM_IMAGES = 6000
_EQUALISING_IMAGES = 1000
_DIRECTIONS = 1024
_CORNERS = 4

_FACTORIES = {"tanh_cnn": tanh_cnn, "gabor_cnn": gabor_cnn, "scattering_linear": scattering_linear}
