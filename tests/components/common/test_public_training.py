"""Training on the public split."""

import numpy as np
import tensorflow as tf

from components.common.examples import Split, scaled
from components.common.legacy_keras import keras
from components.common.public_training import _shifted, fit_public


class Unreadable(Split):
    """A split that nobody may look into."""

    def __init__(self):
        pass

    def __getattribute__(self, name):
        raise AssertionError(f"read {name}")


def test_no_epochs_read_no_data_and_change_nothing(make_model):
    model = make_model()
    before = [w.copy() for w in model.get_weights()]
    fit_public(model, Unreadable(), 0, 0.01)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_it_learns_and_its_rate_ends_at_zero(make_model, public):
    model = make_model()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    before = float(loss(public.labels, model(scaled(public.images))))
    fit_public(model, public, 8, 0.01)
    assert float(loss(public.labels, model(scaled(public.images)))) < 0.7 * before
    assert int(model.optimizer.iterations) == 8 * 2  # batches of 64 out of 90, the short one included
    assert float(model.optimizer.learning_rate(model.optimizer.iterations)) == 0.0


def test_callbacks_are_called(make_model, public):
    ended = []
    count = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ended.append(epoch))
    fit_public(make_model(), public, 2, 0.01, (count,))
    assert ended == [0, 1]


def test_a_shift_moves_at_most_two_pixels_and_keeps_shape_and_labels():
    images = np.zeros((2, 12, 12, 1), np.float32)
    images[:, 6, 6] = 1
    seen = set()
    for _ in range(60):
        moved, labels = _shifted(tf.constant(images), tf.constant([4, 5]))
        assert moved.shape == images.shape and labels.numpy().tolist() == [4, 5]
        (first, second) = np.argwhere(moved.numpy()[..., 0])[:, 1:] - 6
        assert tuple(first) == tuple(second)
        seen.add(tuple(first))
    assert len(seen) > 5 and np.max(np.abs(list(seen))) == 2
