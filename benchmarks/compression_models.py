"""The models of `compression`, their images, and what trains them. Nothing is augmented."""

import dataclasses
import math
import tempfile
from pathlib import Path

import numpy as np
from fashion_mnist_originals import ORIGINS, find_originals

from components.common.examples import Split
from components.common.legacy_keras import keras
from components.common.public_training import fit_public
from components.common.tuning import PublicTuning
from components.dp_training.charged import mechanism_for
from components.dp_training.config import TrainerConfig
from components.dp_training.core import train_privately
from components.dp_training.journal import Journal
from components.dp_training.models import build
from pipeline.config import load as load_config

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
    blocks, of which the second halves the sides as MobileNet's do; 22,000 weights."""
    image = _L.Input(SHAPE, name="image")
    x = _normed(_L.Conv2D(64, 3, strides=2, padding="same", use_bias=False, name="stem")(image), "stem")
    for i, strides in enumerate((1, 2, 1, 1)):
        x = _normed(
            _L.DepthwiseConv2D(3, strides, padding="same", use_bias=False, name=f"depthwise{i}")(x), f"depthwise{i}"
        )
        x = _normed(_L.Conv2D(64, 1, use_bias=False, name=f"pointwise{i}")(x), f"pointwise{i}")
    x = _L.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, _L.Dense(CLASSES, name="logits")(x), name="ds_cnn")


def _normed(x, name: str):
    return _L.ReLU(name=f"{name}_relu")(_L.BatchNormalization(name=f"{name}_norm")(x))


_DEFAULT = load_config("default")
_HELD_OUT, _PUBLIC = 6_000, 2_000
PLATEAU = {  # on validation, seed 0: lenet5 92.07 %, 91.80 % after 40 epochs; ds_cnn 91.50 %, no other number was tried
    "lenet5": PublicTuning(epochs=20, learning_rate=0.001, batch_size=128, augmentations=()),
    "ds_cnn": PublicTuning(epochs=20, learning_rate=0.004, batch_size=128, augmentations=()),
}
TRAINERS: dict[str, PublicTuning | TrainerConfig] = {
    **PLATEAU,
    "private_cnn": dataclasses.replace(_DEFAULT.trainer, population=60_000 - _HELD_OUT - _PUBLIC),
}
BUILD = {"lenet5": lenet5, "ds_cnn": ds_cnn, "private_cnn": lambda: build(_DEFAULT.trainer.model, SHAPE, CLASSES)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """What may be trained on without privacy, what is trained on with it, and what is scored; no image is in two."""

    public: Split
    private: Split | None
    scored: Split


def load(model: str, split: str, source: Path | None) -> Data:
    """The images of a model. Of the training images 6,000 are held out for validation; the other 54,000 are public, or,
    of the private model, 2,000 of them, as in the default run."""
    train, test = (
        Split(images=o.images[..., None], labels=o.labels.astype(np.int64))
        for o in find_originals(source, ORIGINS).values()
    )
    order = np.random.default_rng(0).permutation(len(train))
    held_out, public, private = order[:_HELD_OUT], order[_HELD_OUT:], None
    if isinstance(TRAINERS[model], TrainerConfig):
        public, private = public[:_PUBLIC], train.take(public[_PUBLIC:])
    scored = test if split == "test" else train.take(held_out)
    return Data(public=train.take(public), private=private, scored=scored)


def train(name: str, model: keras.Model, data: Data) -> None:
    """Trains a model in place, by the product's own training."""
    settings = TRAINERS[name]
    if isinstance(settings, PublicTuning):
        fit_public(model, data.public, settings)
        return
    before = PublicTuning(epochs=settings.pretrain_epochs, learning_rate=settings.pretrain_learning_rate)
    fit_public(model, data.public, before)
    policy = _DEFAULT.privacy
    mechanism = mechanism_for(policy.epsilon, policy, settings.sampling_probability, settings.steps)
    with tempfile.TemporaryDirectory() as folder:
        train_privately(model, data.private, settings, mechanism, Journal(Path(folder), math.inf))
