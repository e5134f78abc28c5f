"""Model factories that the config names. All take float32 images in [0, 1] and return logits."""

from components.common.errors import ConfigError
from components.common.legacy_keras import keras


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
        raise ConfigError(f"`trainer.model` must fit images of {tuple(image_shape)}. Received: {name}: {reason}") from None


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


_FACTORIES = {"tanh_cnn": tanh_cnn}
