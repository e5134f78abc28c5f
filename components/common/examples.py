"""Reading examples: the one place that knows their features, `id`, `image` (encoded) and `label`."""

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from components.common.errors import DataError

FEATURES = {
    "id": tf.io.FixedLenFeature([], tf.string, default_value=""),
    "image": tf.io.FixedLenFeature([], tf.string, default_value=""),
    "label": tf.io.FixedLenFeature([], tf.int64, default_value=-1),
}


@dataclass(frozen=True, kw_only=True)
class Split:
    """One decoded split. images: uint8 [n, height, width, channels]; labels: int64 [n]."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "Split":
        """The examples at int64 [n] indices, in that order."""
        return Split(images=self.images[indices], labels=self.labels[indices])


def records(examples_uri: str, split: str) -> tf.data.Dataset:
    """The raw records of a split of a TFX Examples artifact, as parsed features, in a fixed order."""
    files = sorted(glob.glob(os.path.join(glob.escape(examples_uri), f"Split-{split}", "*")))
    if not files:
        raise DataError(f"split `{split}` must have files. Nothing is under {examples_uri}")
    dataset = tf.data.TFRecordDataset(files, compression_type="GZIP")
    return dataset.batch(1024).map(lambda serialized: tf.io.parse_example(serialized, FEATURES))


@contextmanager
def readable(split: str) -> Iterator[None]:
    """Turns what TensorFlow raises on damaged records into one line. TensorFlow's own words are dropped, because they
    quote the record, which may be private.

    Raises:
        DataError: a file is cut off or corrupted, a record is no tf.train.Example, a feature has another type, or an
            image has another shape or cannot be decoded.
    """
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError):
        raise DataError(
            f"split `{split}` must hold tf.train.Examples with an encoded `image` of the configured shape and one "
            "integer `label`, in whole TFRecord files. At least one record is damaged or is something else"
        ) from None


def read_split(examples_uri: str, split: str, shape: tuple[int, ...], limit: int | None = None) -> Split:
    """Reads and decodes a split. The caller answers for the read being charged where the split is private.

    Args:
        examples_uri: of a TFX Examples artifact.
        split: its name, one of the roles.
        shape: (height, width, channels) of every image.
        limit: at most so many examples, the first ones.

    Raises:
        DataError: the split is missing, empty or not `readable`.
    """
    pieces = list(iterate_split(examples_uri, split, shape, limit))
    return Split(
        images=np.concatenate([piece.images for piece in pieces]),
        labels=np.concatenate([piece.labels for piece in pieces]),
    )


def iterate_split(examples_uri: str, split: str, shape: tuple[int, ...], limit: int | None = None) -> Iterator[Split]:
    """The same in pieces of at most 1,024 examples, of which one is in memory at a time."""
    dataset = records(examples_uri, split).unbatch()
    if limit is not None:
        dataset = dataset.take(limit)
    dataset = dataset.map(
        lambda f: (decode(f["image"], shape), f["label"]), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    empty = True
    with readable(split):
        for images, labels in dataset.batch(1024).as_numpy_iterator():
            empty = False
            yield Split(images=images, labels=labels)
    if empty:
        raise DataError(f"split `{split}` must hold examples. It is empty")


def decode(encoded: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
    """Decodes one encoded image (scalar string) to uint8 of `shape`."""
    image = tf.io.decode_image(encoded, channels=shape[2], expand_animations=False)
    return tf.ensure_shape(image, shape)


def scaled(images: np.ndarray) -> np.ndarray:
    """uint8 [0, 255] to float32 [0, 1]: the input of every model here."""
    return images.astype(np.float32) / np.float32(255)
