"""What mixes examples is refused, and what does not is let through."""

import numpy as np
import pytest
import tensorflow as tf

from components.common.errors import ModelError
from components.common.legacy_keras import keras
from components.dp_training.config import MODELS
from components.dp_training.models import build
from components.dp_training.per_example import check_trainable_privately
from components.dp_training.per_example.errors import ExamplesMixError, LayerLossError

L = keras.layers


class AddsLoss(L.Layer):
    def call(self, inputs):
        self.add_loss(tf.reduce_mean(inputs**2))
        return inputs


class RandomShift(L.Layer):
    """An unknown layer that draws for each example alone."""

    def call(self, inputs):
        return inputs + tf.random.normal(tf.shape(inputs))


def around(*layers, shape=(4,)):
    return keras.Sequential([L.InputLayer(shape), *layers, L.Flatten(), L.Dense(3)])


MIXING = {
    "mean over the batch": lambda: L.Lambda(lambda t: t - tf.reduce_mean(t, 0)),
    "softmax over the batch": lambda: L.Softmax(axis=0),
    "shifted by one example": lambda: L.Lambda(lambda t: tf.roll(t, 1, 0)),
    "no gradient": lambda: L.Lambda(lambda t: t + tf.stop_gradient(tf.reduce_max(t, 0))),
    "rank in the batch": lambda: L.Lambda(lambda t: t * tf.cast(tf.argsort(tf.argsort(t, 0), 0), tf.float32)),
}


@pytest.mark.parametrize("name", MIXING)
@pytest.mark.parametrize("noisy", [False, True])
def test_what_mixes_examples_is_found_by_running_it(name, noisy):
    layers = [L.Dense(4), *([L.Dropout(0.5)] if noisy else []), MIXING[name]()]
    with pytest.raises(ExamplesMixError, match="GroupNormalization"):
        check_trainable_privately(around(*layers))


def test_mixing_behind_unknown_noise_is_found_by_its_gradient():
    with pytest.raises(ExamplesMixError):
        check_trainable_privately(around(RandomShift(), MIXING["mean over the batch"]()))


@pytest.mark.parametrize("layer", [L.BatchNormalization, L.experimental.SyncBatchNormalization])
def test_batch_normalization_is_refused_with_its_replacement(layer):
    inner = keras.Sequential([L.InputLayer((4,)), layer(name="inner")])
    with pytest.raises(ExamplesMixError, match="layer inner .*GroupNormalization") as error:
        check_trainable_privately(around(inner))
    assert isinstance(error.value, ModelError)


def test_state_between_batches_is_refused():
    model = keras.Sequential([L.InputLayer((5, 2), batch_size=3), L.LSTM(2, stateful=True, name="memory"), L.Dense(3)])
    with pytest.raises(ExamplesMixError, match="layer memory .*stateful=False"):
        check_trainable_privately(model)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: L.Dense(4, kernel_regularizer="l2"),
        lambda: L.Dense(4, activity_regularizer="l1"),
        lambda: L.ActivityRegularization(0.1),
        AddsLoss,
    ],
)
def test_a_layer_that_adds_a_loss_is_refused(layer):
    with pytest.raises(LayerLossError, match="weight decay"):
        check_trainable_privately(around(layer()))


def test_two_inputs_are_refused():
    x, y = L.Input((2,)), L.Input((2,))
    with pytest.raises(ModelError, match="one input"):
        check_trainable_privately(keras.Model([x, y], L.Dense(3)(L.Concatenate()([x, y]))))


def frozen_normalization():
    layer = L.BatchNormalization()
    layer.trainable = False
    return around(L.Dense(4), layer)


ALLOWED = {
    "dropout": lambda: around(L.Dense(4), L.Dropout(0.5), L.GaussianNoise(0.1)),
    "unknown noise": lambda: around(L.Dense(4), RandomShift()),
    "group normalization": lambda: around(L.Conv2D(4, 3), L.GroupNormalization(2), shape=(6, 6, 1)),
    "frozen batch normalization": frozen_normalization,
    "words": lambda: around(L.Embedding(9, 3), L.GRU(2), shape=(None,)),
    **{name: lambda name=name: build(name, (28, 28, 1), 10) for name in MODELS},
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_does_not_mix_is_let_through_and_left_as_it_was(name):
    model = ALLOWED[name]()
    before = model.get_weights()
    check_trainable_privately(model)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
