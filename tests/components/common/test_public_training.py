"""Training on the public split, free or held."""

import numpy as np
import pytest
import tensorflow as tf

from components.common.errors import ConfigError
from components.common.examples import scaled
from components.common.kernels import kernels
from components.common.legacy_keras import keras
from components.common.projections import Centroids, FixedZeros, Held
from components.common.public_training import _augmented, fit, fit_public
from components.common.tuning import CompensatedConfig, PrivateTuning, PublicTuning, StageConfig

L = keras.layers


def loss_of(model, public) -> float:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return float(loss(public.labels, model(scaled(public.images))))


@pytest.mark.parametrize("distillation", [0.0, 0.5])
def test_it_learns(make_model, public, distillation):
    model = make_model()
    before = loss_of(model, public)
    fit_public(model, public, PublicTuning(epochs=10, learning_rate=0.01, distillation=distillation))
    assert loss_of(model, public) < 0.8 * before


def test_steps_are_traced_once_a_smaller_last_one_too(make_model, public):
    model, seen = make_model(), []
    model.get_layer("dense").activity_regularizer = lambda _: seen.append(1) or 0.0
    fit_public(model, public, PublicTuning(epochs=2, batch_size=64))  # of 90 images
    assert len(seen) == 1


def test_distillation_alone_reads_no_labels(make_model, public):
    model = make_model()
    wrong = np.full_like(public.labels, 99)  # would be NaN in a cross-entropy
    tuning = PublicTuning(epochs=2, learning_rate=0.01, distillation=1.0)
    fit(model, scaled(public.images), wrong % 3, tuning)
    np.testing.assert_allclose(  # it is its own teacher, so that it stays about where it is
        model.predict(scaled(public.images), verbose=0),
        make_model().predict(scaled(public.images), verbose=0),
        atol=0.3,
    )


def test_a_teacher_of_another_architecture_is_followed(make_model, public):
    model, images = make_model(), scaled(public.images)
    teacher = keras.Sequential(
        [L.Input((12, 12, 1)), L.Flatten(), L.Dense(3, bias_initializer=lambda *_, **__: [3.0, 0.0, -3.0])]
    )
    fit(model, images, public.labels, PublicTuning(epochs=20, learning_rate=0.01, distillation=1.0), None, teacher)
    assert np.mean(model.predict(images, verbose=0).argmax(1) == 0) == 1


def test_kernels_are_held_at_every_step_and_move_behind(make_model, public):
    model, seen = make_model(), []
    kernel = kernels(model)["dense"].variable
    sparse = kernel.numpy() * (np.abs(kernel.numpy()) > 0.1)
    held = Held([(kernel, [FixedZeros(sparse), Centroids(np.float32([[-0.2, 0.2]]), 1)])])
    model.get_layer("dense").activity_regularizer = lambda _: seen.append(1) or 0.0  # the graph is traced through it
    fit_public(model, public, PublicTuning(epochs=3, learning_rate=0.02), held)
    assert seen and np.mean(kernel.numpy() == 0) == 0  # the weights behind are dense
    held.settle()
    assert np.all((kernel.numpy() == 0) == (sparse == 0)) and len(np.unique(kernel)) == 3


def test_normalization_statistics_follow_the_data(public):
    model = keras.Sequential([L.Input((12, 12, 1)), L.Flatten(), L.Dense(8), L.BatchNormalization(), L.Dense(3)])
    fit_public(model, public, PublicTuning(epochs=4, learning_rate=0.01))
    assert np.all(model.layers[2].moving_mean.numpy() != 0)


def test_several_inputs_and_outputs_are_trained_together():
    a, b = L.Input((4,)), L.Input((4,))
    hidden = L.Dense(8, activation="relu")(L.Concatenate()([a, b]))
    model = keras.Model([a, b], [L.Dense(2)(hidden), L.Dense(2)(hidden)])
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(2, 200, 4)).astype(np.float32), None
    y = [(x[0][:, 0] > 0).astype(np.int64), (x[1][:, 0] > 0).astype(np.int64)]
    fit(model, (x[0], x[1]), (y[0], y[1]), PublicTuning(epochs=40, learning_rate=0.01))
    for scores, labels in zip(model.predict([x[0], x[1]], verbose=0), y, strict=True):
        assert np.mean(scores.argmax(1) == labels) > 0.9


def test_a_shift_moves_at_most_two_pixels_and_keeps_the_shape():
    images = np.zeros((2, 12, 12, 1), np.float32)
    images[:, 6, 6] = 1
    seen = set()
    for _ in range(60):
        moved = _augmented(tf.constant(images), ("shift",))
        assert moved.shape == images.shape
        (first, second) = np.argwhere(moved.numpy()[..., 0])[:, 1:] - 6
        assert tuple(first) == tuple(second)
        seen.add(tuple(first))
    assert len(seen) > 5 and np.max(np.abs(list(seen))) == 2


def test_a_flip_turns_about_half_of_the_images():
    images = np.zeros((200, 4, 4, 1), np.float32)
    images[:, :, 0] = 1
    turned = _augmented(tf.constant(images), ("flip",)).numpy()[:, 0, 3, 0]
    assert 60 < turned.sum() < 140


def test_what_is_no_image_is_not_augmented():
    rows = tf.constant(np.arange(6, dtype=np.float32).reshape(2, 3))
    np.testing.assert_array_equal(_augmented(rows, ("shift", "flip")), rows)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"epochs": 0}, "^`epochs` must be 1 or more. Received: epochs=0$"),
        ({"epochs": 1, "learning_rate": 0.0}, "^`learning_rate` must be a finite number above 0"),
        ({"epochs": 1, "batch_size": 0}, "^`batch_size` must be 1 or more"),
        ({"epochs": 1, "augmentations": ("mixup",)}, "^`augmentations` must be of shift, flip"),
        ({"epochs": 1, "temperature": 0.0}, "^`temperature` must be a finite number above 0"),
        ({"epochs": 1, "distillation": 1.5}, r"^`distillation` must be in \[0, 1\]. Received: distillation=1.5$"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        PublicTuning(**settings)


PRIVATE = PrivateTuning(epsilon=0.1, steps=1, expected_batch_size=1, l2_norm_clip=1.0, learning_rate=0.1)


@pytest.mark.parametrize(
    ("settings", "reads"),
    [
        ({}, "none"),
        ({"compensate": "random"}, "none"),
        ({"compensate": "public"}, "public"),
        ({"compensate": "random", "public": PublicTuning(epochs=1)}, "public"),
        ({"private": PRIVATE}, "private"),
    ],
)
def test_compensation_says_what_it_reads(settings, reads):
    assert CompensatedConfig(**settings).reads == reads


def test_compensation_with_private_images_or_before_private_training_is_refused():
    with pytest.raises(ConfigError, match="^`compensate` must be one of nothing, random, public. Received: .*private"):
        CompensatedConfig(compensate="private")
    with pytest.raises(ConfigError, match="^`private` must not be set beside compensate: a training that was killed"):
        CompensatedConfig(compensate="random", private=PRIVATE)


def test_a_stage_reads_one_split_or_none():
    public = PublicTuning(epochs=1)
    assert [StageConfig(**s).reads for s in ({}, {"public": public}, {"private": PRIVATE})] == [
        "none",
        "public",
        "private",
    ]
    with pytest.raises(ConfigError, match="^`private` must not be set beside public: a stage fine-tunes on one split"):
        StageConfig(public=public, private=PRIVATE)
