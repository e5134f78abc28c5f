"""What the component tests share: a tiny model, images it can learn, Examples artifacts on disk, and a way to run a
function component with real artifacts."""

import io
import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import pytest
from PIL import Image

SHAPE, CLASSES = (12, 12, 1), 3


@pytest.fixture(autouse=True)
def the_same_weights_every_time():
    """Seeds what asks for no seed of its own: weights, shuffling, augmentation, k-means++. Not private noise."""
    from components.common.legacy_keras import keras

    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def make_model():
    """Makes a fresh CNN with 843 weights that takes images of 12x12x1 and returns 3 logits."""
    from components.common.legacy_keras import keras

    layers = keras.layers

    def make(seed: int = 7) -> keras.Model:
        keras.utils.set_random_seed(seed)
        return keras.Sequential(
            [
                layers.Input(SHAPE, name="image"),
                layers.Conv2D(4, 3, strides=2, activation="tanh", name="conv"),
                layers.Flatten(name="flatten"),
                layers.Dense(8, activation="tanh", name="dense"),
                layers.Dense(CLASSES, name="logits"),
            ],
            name="tiny",
        )

    return make


@pytest.fixture(scope="session")
def public():
    """A split of 90 images, one third of each is bright: which third is the label."""
    from components.common.examples import Split

    rng = np.random.default_rng(3)
    labels = np.arange(90, dtype=np.int64) % CLASSES
    images = rng.integers(0, 60, (90, *SHAPE))
    for image, label in zip(images, labels, strict=True):
        image[4 * label : 4 * label + 4] += 150
    return Split(images=images.astype(np.uint8), labels=labels)


@pytest.fixture(scope="session")
def encode():
    """Encodes a uint8 image [height, width, channels] as PNG, or in another format of Pillow's."""

    def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, kind)
        return buffer.getvalue()

    return encoded


@pytest.fixture(scope="session")
def write_split():
    """Writes serialized records as TFX's ExampleGen does: gzipped TFRecords in `Split-<role>`."""
    import tensorflow as tf

    def write(uri, role: str, records: list[bytes], name: str = "data_tfrecord-00000-of-00001.gz") -> None:
        folder = os.path.join(uri, f"Split-{role}")
        os.makedirs(folder, exist_ok=True)
        with tf.io.TFRecordWriter(os.path.join(folder, name), "GZIP") as writer:
            for record in records:
                writer.write(record)

    return write


@pytest.fixture(scope="session")
def example():
    """Serializes one tf.train.Example; a feature that is None is left out."""
    import tensorflow as tf

    def serialized(image: bytes | None, label: int | float | None, key: str | None = None) -> bytes:
        made = tf.train.Example()
        if key is not None:
            made.features.feature["id"].bytes_list.value.append(key.encode())
        if image is not None:
            made.features.feature["image"].bytes_list.value.append(image)
        if isinstance(label, int):
            made.features.feature["label"].int64_list.value.append(label)
        elif label is not None:
            made.features.feature["label"].float_list.value.append(label)
        return made.SerializeToString()

    return serialized


@pytest.fixture
def artifact(tmp_path):
    """Makes an artifact of a type, in a folder of its own."""

    def make(kind, name: str):
        made = kind()
        made.name, made.uri = name, str(tmp_path / name)
        os.makedirs(made.uri, exist_ok=True)
        return made

    return make


@pytest.fixture(scope="session")
def execute():
    """Runs a function component through its TFX executor, as the launcher does."""
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor

    from pipeline.runners.beam.flags import IN_PROCESS

    def run(component, inputs: dict, outputs: dict, **parameters) -> None:
        def listed(artifacts):
            return {key: value if isinstance(value, list) else [value] for key, value in artifacts.items()}

        executor = component.EXECUTOR_SPEC.executor_class
        context = None
        if issubclass(executor, BaseBeamExecutor):
            context = BaseBeamExecutor.Context(beam_pipeline_args=list(IN_PROCESS))
        executor(context).Do(listed(inputs), listed(outputs), parameters)

    return run
