"""The models that are asked: each takes float32 images [n, …] in [0, 1] and gives float32 scores [n, classes]."""

import hashlib
import logging
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from components.common.examples import decode
from components.common.models import load_model
from components.common.tflite import TFLiteModel
from components.gates.scoring.table import PARENT

Scorer = Callable[[np.ndarray], np.ndarray]


def scorers(models: dict[str, str | None], classes: int) -> dict[str, Scorer]:
    """Opens models: the parent from its folder as it is, the others from their `.tflite` in the runtime that ships.

    A model that does not load, or answers in another shape, has NaN for every score; so has one without a path.
    """
    return {name: _guarded(name, path, classes) for name, path in models.items()}


def decoder(shape: tuple[int, ...]) -> Callable[[list[bytes]], np.ndarray]:
    """Decodes encoded images [n] to uint8 [n, *shape]."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def decoded(encoded):
        spec = tf.TensorSpec(shape, tf.uint8)
        return tf.map_fn(lambda e: decode(e, shape), encoded, fn_output_signature=spec, parallel_iterations=32)

    return lambda encoded: decoded(tf.constant(encoded)).numpy()


def digest(image: np.ndarray, label: int) -> str:
    """Names an example by what it shows: its pixels (uint8) and its label."""
    return hashlib.blake2b(image.tobytes() + str(label).encode(), digest_size=16).hexdigest()


def _guarded(name: str, path: str | None, classes: int) -> Scorer:
    def nothing(images: np.ndarray) -> np.ndarray:
        return np.full((len(images), classes), np.nan, np.float32)

    try:
        if path is None:
            return nothing
        scores = _parent(path) if name == PARENT else TFLiteModel.open(path).scores
    except Exception:
        logging.exception("%s does not load", name)
        return nothing

    def guarded(images: np.ndarray) -> np.ndarray:
        try:
            found = scores(images)
        except Exception:
            logging.exception("%s does not answer", name)
            return nothing(images)
        return found if found.shape == (len(images), classes) else nothing(images)

    return guarded


def _parent(path: str) -> Scorer:
    model = load_model(path)
    answer = tf.function(lambda images: model(images, training=False), reduce_retracing=True)
    return lambda images: answer(images).numpy()
