"""Each odd model is refused in one line, or its clipped gradients equal a loop in float64; none is wrong."""

import numpy as np
import pytest
import tensorflow as tf

from components.common.errors import ModelError
from components.common.legacy_keras import keras
from components.dp_training.per_example import check_trainable_privately, clipped_gradient_sum
from components.dp_training.per_example.errors import (
    ExamplesMixError,
    LayerLossError,
    PrecisionError,
    StateChangesError,
)
from tests.components.dp_training.per_example.odd.catalogue import EXACT, ODD, REFUSED, inputs_of
from tests.components.dp_training.per_example.odd.parts import Doing, weight

L = keras.layers

ERRORS = {
    "mixes": ExamplesMixError,
    "state": StateChangesError,
    "loss": LayerLossError,
    "precision": PrecisionError,
    "model": ModelError,
}


def test_there_are_enough_of_them():
    assert len(REFUSED) >= 40
    assert len(EXACT) >= 35


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name):
    outcome, build = ODD[name]
    with pytest.raises(ERRORS[outcome]) as error:
        check_trainable_privately(build())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", EXACT)
def test_exact_at_every_batch_size(name, naive):
    _, build = ODD[name]
    model = build()
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(0.4 * rng.normal(size=variable.shape) + 0.1)
    check_trainable_privately(model)
    exact = naive.in_float64(build, model.get_weights())
    inputs, labels = inputs_of(name, model, 5), np.array([0, 1, 2, 0, 1])
    examples = naive.gradients_one_by_one(exact, tf.constant(inputs), labels)
    clip = float(np.median([naive.norm(own) for own in examples]))
    spec = [tf.TensorSpec([None, *inputs.shape[1:]], model.inputs[0].dtype), tf.TensorSpec([None], tf.int64)]
    compiled = tf.function(
        lambda x, y: clipped_gradient_sum(model, x, y, tf.ones(tf.shape(y)), clip), input_signature=spec
    )
    for count in (5, 3, 1):
        found = compiled(tf.cast(inputs[:count], model.inputs[0].dtype), labels[:count])
        naive.assert_clipped_sum(found, examples[:count], clip)


@pytest.mark.parametrize("name, size, gain", [("large batches mix", 60, 1.0), ("bright batches mix", 4, 1e6)])
def test_mixing_that_no_trial_run_meets_does_not_reach_the_sum(name, size, gain):
    model = ODD[name][1]()
    inputs, labels = (gain * inputs_of(name, model, size)).astype(np.float32), np.arange(size) % 3
    whole = clipped_gradient_sum(model, inputs, labels, tf.ones(size), 0.1)
    alone = [clipped_gradient_sum(model, inputs[i : i + 1], labels[i : i + 1], tf.ones(1), 0.1) for i in range(size)]
    for total, *parts in zip(whole, *alone, strict=True):
        np.testing.assert_allclose(total, np.sum(parts, 0), rtol=1e-4, atol=1e-6)


def counted():
    """A model whose output follows a step counter, from which nothing of an example can be told."""

    def function(own, t):
        own.steps.assign_add(1.0)
        return t * (1.0 + own.steps)

    layer = Doing(function, weight("steps", (), trainable=False))
    return keras.Sequential([L.InputLayer((4,)), layer, L.Dense(3)]), layer


def test_a_step_counter_is_free_of_data_and_every_example_sees_the_same(naive):
    model, layer = counted()
    check_trainable_privately(model)
    assert layer.steps.numpy() == 0.0
    inputs, labels = np.random.default_rng(0).random((4, 4), np.float32), np.array([0, 1, 2, 0])
    examples = []
    for i in range(4):
        layer.steps.assign(0.0)
        examples += naive.gradients_one_by_one(model, tf.constant(inputs[i : i + 1]), labels[i : i + 1])
    layer.steps.assign(0.0)
    compiled = tf.function(lambda x, y: clipped_gradient_sum(model, x, y, tf.ones(4), 0.5))
    naive.assert_clipped_sum(compiled(inputs, labels), examples, 0.5)
    assert layer.steps.numpy() == 0.0


def with_a_generator():
    """A layer that draws from a generator of its own, whose state is a variable."""

    def function(own, t):
        return t + 0.1 * own.generator.normal(tf.shape(t))

    layer = Doing(function, generator=tf.random.Generator.from_seed(1))
    return keras.Sequential([L.InputLayer((4,)), layer, L.Dense(3)]), layer


def test_a_generator_draws_for_each_example_and_is_left_as_it_was_by_the_check(naive):
    model, layer = with_a_generator()
    before = layer.generator.state.numpy()
    check_trainable_privately(model)
    np.testing.assert_array_equal(layer.generator.state, before)
    inputs, labels = np.zeros((3, 4), np.float32), np.array([0, 0, 0])
    alone = [clipped_gradient_sum(model, inputs, labels, tf.one_hot(i, 3), 0.1) for i in range(3)]
    assert all(naive.norm([g.numpy() for g in own]) <= 0.1 * (1 + 1e-5) for own in alone)


def test_dropout_stays_random_after_the_check():
    keras.utils.set_random_seed(3)
    first = tf.random.uniform([3]).numpy()
    keras.utils.set_random_seed(3)
    check_trainable_privately(keras.Sequential([L.InputLayer((4,)), L.Dropout(0.5), L.Dense(3)]))
    np.testing.assert_array_equal(tf.random.uniform([3]), first)
