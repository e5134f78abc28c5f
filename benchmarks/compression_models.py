"""The models of `compression` and what trains them to their plateau."""

from components.common.legacy_keras import keras
from components.common.tuning import PublicTuning

SHAPE, CLASSES = (28, 28, 1), 10
_L = keras.layers


def lenet5() -> keras.Model:
    """LeNet-5 as Caffe has it and as Deep Compression (Han et al. 2016, table 3) counts it: 431,080 weights."""
    return keras.Sequential(
        [
            _L.Input(SHAPE, name="image"),
            _L.Conv2D(20, 5, activation="relu", name="conv1"),
            _L.MaxPool2D(name="pool1"),
            _L.Conv2D(50, 5, activation="relu", name="conv2"),
            _L.MaxPool2D(name="pool2"),
            _L.Flatten(name="flatten"),
            _L.Dense(500, activation="relu", name="fc1"),
            _L.Dense(CLASSES, name="fc2"),
        ],
        name="lenet5",
    )


def ds_cnn() -> keras.Model:
    """A depthwise separable CNN in the manner of Zhang et al. 2017 (arXiv:1711.07128, section 3.5): 64 channels, four
    blocks, 22,000 weights."""
    image = _L.Input(SHAPE, name="image")
    x = _normed(_L.Conv2D(64, 3, strides=2, padding="same", use_bias=False, name="stem")(image), "stem")
    for i in range(4):
        x = _normed(_L.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"depthwise{i}")(x), f"depthwise{i}")
        x = _normed(_L.Conv2D(64, 1, use_bias=False, name=f"pointwise{i}")(x), f"pointwise{i}")
    x = _L.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, _L.Dense(CLASSES, name="logits")(x), name="ds_cnn")


def _normed(x, name: str):
    return _L.ReLU(name=f"{name}_relu")(_L.BatchNormalization(name=f"{name}_norm")(x))


PLATEAU = {  # what trains each to where more epochs gain nothing on the 6,000 validation images
    "lenet5": PublicTuning(epochs=50, learning_rate=0.002, batch_size=128, augmentations=("shift", "flip")),
    "ds_cnn": PublicTuning(epochs=30, learning_rate=0.004, batch_size=128, augmentations=("shift", "flip")),
}
BUILD = {"lenet5": lenet5, "ds_cnn": ds_cnn}
