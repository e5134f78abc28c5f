"""Training without privacy on the public split: pretraining, and fine-tuning inside a compression stage."""

from typing import Any

import tensorflow as tf

from components.common.examples import Split, scaled
from components.common.legacy_keras import keras
from components.common.projections import Held
from components.common.tuning import PublicTuning

_SHIFT = 2  # pixels
_UPDATES = 100  # in a training, of what kernels are held to


def fit_public(model: keras.Model, public: Split, settings: PublicTuning, held: Held | None = None) -> None:
    """Trains `model` in place with Adam, a cosine decay to zero and shifts of up to two pixels.

    Args:
        model: returns logits; takes float32 images in [0, 1].
        public: the public split, and never another one.
        settings: how long and how fast.
        held: what its kernels are held to, if anything.
    """
    fit(model, scaled(public.images), public.labels, settings, held)


def fit(model: keras.Model, inputs: Any, labels: Any, settings: PublicTuning, held: Held | None = None) -> None:
    """The same from arrays.

    Args:
        inputs: float32 [n, …] for each input of the model, an array or a list of them.
        labels: int64 [n] for each output.
    """
    holding = held or Held([])
    dataset = tf.data.Dataset.from_tensor_slices((inputs, labels)).shuffle(len(tf.nest.flatten(labels)[0]))
    dataset = dataset.batch(settings.batch_size).map(lambda x, y: (_shifted(x), y)).prefetch(2).repeat(settings.epochs)
    steps = -(-len(tf.nest.flatten(labels)[0]) // settings.batch_size) * settings.epochs
    every = max(1, steps // _UPDATES)
    step = _step(model, holding, settings, steps)
    for number, (x, y) in enumerate(dataset):
        if number % every == 0:
            holding.update(number / steps)
        step(x, y)


def _step(model: keras.Model, held: Held, settings: PublicTuning, steps: int):
    optimizer = keras.optimizers.legacy.Adam(keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps))
    teacher = _copy(model) if settings.distillation else None

    @tf.function
    def step(inputs, labels):
        with held.projected(), tf.GradientTape() as tape:
            scores = model(inputs, training=True)
            loss = (1 - settings.distillation) * _error(labels, scores)
            if teacher is not None:
                loss += settings.distillation * _divergence(teacher(inputs, training=False), scores)
            loss += tf.add_n(model.losses) if model.losses else 0.0
        gradients = tape.gradient(loss, model.trainable_variables)
        pairs = zip(gradients, model.trainable_variables, strict=True)
        optimizer.apply_gradients([(gradient, variable) for gradient, variable in pairs if gradient is not None])

    return step


def _copy(model: keras.Model) -> keras.Model:
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def _error(labels: Any, scores: Any) -> tf.Tensor:
    """Cross-entropy with the labels, summed over outputs."""
    pairs = zip(tf.nest.flatten(labels), tf.nest.flatten(scores), strict=True)
    return tf.add_n([tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, s)) for y, s in pairs])


def _divergence(teachers: Any, scores: Any) -> tf.Tensor:
    """Cross-entropy with the teacher's probabilities, summed over outputs (Hinton et al. 2015, arXiv:1503.02531)."""
    pairs = zip(tf.nest.flatten(teachers), tf.nest.flatten(scores), strict=True)
    return tf.add_n([tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(t), s)) for t, s in pairs])


def _shifted(inputs: Any) -> Any:
    """Shifts the images of a whole batch by one random offset: as good here as an offset an image, and much cheaper."""
    return tf.nest.map_structure(lambda x: _moved(x) if x.shape.rank == 4 else x, inputs)


def _moved(images: tf.Tensor) -> tf.Tensor:
    padded = tf.pad(images, [[0, 0], [_SHIFT, _SHIFT], [_SHIFT, _SHIFT], [0, 0]])
    return tf.image.random_crop(padded, tf.shape(images))
