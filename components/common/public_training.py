"""Training without privacy on the public split: pretraining, and fine-tuning inside a compression stage."""

from typing import Any

import tensorflow as tf

from components.common.examples import Split, scaled
from components.common.kernels import plain_copy
from components.common.legacy_keras import keras
from components.common.projections import Held
from components.common.tuning import PublicTuning

_SHIFT = 2  # pixels
_UPDATES = 100  # in a training, of what kernels are held to


def fit_public(
    model: keras.Model,
    public: Split,
    settings: PublicTuning,
    held: Held | None = None,
    teacher: keras.Model | None = None,
) -> None:
    """Trains `model` in place with Adam and a cosine decay to zero.

    Args:
        model: returns logits; takes float32 images in [0, 1].
        public: the public split, and never another one.
        settings: how long and how fast.
        held: what its kernels are held to, if anything.
        teacher: whose scores are distilled; `model` as it comes, if None.
    """
    fit(model, scaled(public.images), public.labels, settings, held, teacher)


def fit(
    model: keras.Model,
    inputs: Any,
    labels: Any,
    settings: PublicTuning,
    held: Held | None = None,
    teacher: keras.Model | None = None,
) -> None:
    """The same from arrays.

    Args:
        inputs: float32 [n, …] for each input of the model, an array or a list of them.
        labels: int64 [n] for each output.
    """
    holding = held or Held([])
    dataset = tf.data.Dataset.from_tensor_slices((inputs, labels)).shuffle(len(tf.nest.flatten(labels)[0]))
    dataset = dataset.batch(settings.batch_size).map(lambda x, y: (_augmented(x, settings.augmentations), y))
    dataset = dataset.prefetch(2).repeat(settings.epochs)
    steps = -(-len(tf.nest.flatten(labels)[0]) // settings.batch_size) * settings.epochs
    every = max(1, steps // _UPDATES)
    teacher = (teacher or plain_copy(model)) if settings.distillation else None
    step = _step(model, teacher, holding, settings, steps, dataset.element_spec)
    for number, (x, y) in enumerate(dataset):
        if number % every == 0:
            holding.update(number / steps)
        step(x, y)


def _step(model: keras.Model, teacher: keras.Model | None, held: Held, settings: PublicTuning, steps: int, batch: Any):
    """A training step on what has the spec `batch`, traced once: a last batch that is smaller is one too."""
    optimizer = keras.optimizers.legacy.Adam(keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps))
    optimizer._create_all_weights(model.trainable_variables)  # or else the first call traces it twice

    @tf.function(autograph=False, input_signature=batch)
    def step(inputs, labels):
        with held.projected(), tf.GradientTape() as tape:
            scores = model(inputs, training=True)
            loss = (1 - settings.distillation) * _error(labels, scores)
            if settings.distillation:
                divergence = _divergence(teacher(inputs, training=False), scores, settings.temperature)
                loss += settings.distillation * divergence
            loss += tf.add_n(model.losses) if model.losses else 0.0
        gradients = held.passed(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        pairs = zip(gradients, model.trainable_variables, strict=True)
        optimizer.apply_gradients([(gradient, variable) for gradient, variable in pairs if gradient is not None])

    return step


def _error(labels: Any, scores: Any) -> tf.Tensor:
    """Cross-entropy with the labels, summed over outputs."""
    pairs = zip(tf.nest.flatten(labels), tf.nest.flatten(scores), strict=True)
    return tf.add_n([tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, s)) for y, s in pairs])


def _divergence(teachers: Any, scores: Any, temperature: float) -> tf.Tensor:
    """Cross-entropy with the teacher's probabilities at a temperature, times its square, summed over outputs (Hinton et
    al. 2015, arXiv:1503.02531, section 2)."""
    softened = [tf.nn.softmax(t / temperature) for t in tf.nest.flatten(teachers)]
    pairs = zip(softened, tf.nest.flatten(scores), strict=True)
    losses = [tf.nn.softmax_cross_entropy_with_logits(t, s / temperature) for t, s in pairs]
    return temperature**2 * tf.add_n([tf.reduce_mean(loss) for loss in losses])


def _augmented(inputs: Any, augmentations: tuple[str, ...]) -> Any:
    """Augments what is an image, [n, height, width, channels]; all else passes."""
    for name in augmentations:
        apply = _AUGMENT[name]
        inputs = tf.nest.map_structure(lambda x, a=apply: a(x) if x.shape.rank == 4 else x, inputs)
    return inputs


def _shifted(images: tf.Tensor) -> tf.Tensor:
    """Shifts a whole batch by one random offset: as good here as an offset an image, and much cheaper."""
    padded = tf.pad(images, [[0, 0], [_SHIFT, _SHIFT], [_SHIFT, _SHIFT], [0, 0]])
    return tf.image.random_crop(padded, tf.shape(images))


_AUGMENT = {"shift": _shifted, "flip": tf.image.random_flip_left_right}
