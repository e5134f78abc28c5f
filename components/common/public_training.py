"""Training without privacy on the public split: pretraining, and fine-tuning inside a compression stage."""

import tensorflow as tf

from components.common.examples import Split, scaled
from components.common.legacy_keras import keras

_BATCH, _SHIFT = 64, 2


def fit_public(model: keras.Model, public: Split, epochs: int, learning_rate: float, callbacks: tuple = ()) -> None:
    """Trains `model` in place with Adam, a cosine decay to zero and shifts of up to two pixels.

    Args:
        model: returns logits; takes float32 images in [0, 1].
        public: the public split, and never another one.
        epochs: passes over it; 0 does nothing.
        learning_rate: at the start, above 0.
        callbacks: Keras callbacks that a stage needs.
    """
    if epochs == 0:
        return
    steps = -(-len(public) // _BATCH) * epochs
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    model.compile(keras.optimizers.legacy.Adam(schedule), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    dataset = tf.data.Dataset.from_tensor_slices((scaled(public.images), public.labels))
    dataset = dataset.shuffle(len(public)).batch(_BATCH).map(_shifted).prefetch(2)
    model.fit(dataset, epochs=epochs, callbacks=list(callbacks), verbose=0)


def _shifted(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Shifts a whole batch by one random offset: as good here as an offset an image, and much cheaper."""
    padded = tf.pad(images, [[0, 0], [_SHIFT, _SHIFT], [_SHIFT, _SHIFT], [0, 0]])
    return tf.image.random_crop(padded, tf.shape(images)), labels
