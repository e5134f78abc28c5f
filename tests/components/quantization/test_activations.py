"""Activations rounded in training as int8 rounds them."""

import numpy as np
import pytest
import tensorflow as tf

from components.common.legacy_keras import keras
from components.quantization.activations import quantized_activations

L = keras.layers


def rounded(model, x, inputs):
    with quantized_activations(model, inputs):
        return model(x).numpy()


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)


def test_an_output_takes_at_most_256_values_in_the_range_that_calibration_set(x):
    model = keras.Sequential([L.Input((8,)), L.Dense(40, kernel_initializer="glorot_normal")])
    free, made = model(x).numpy(), rounded(model, 3 * x, x)
    assert len(np.unique(made)) <= 256
    step = (free.max() - free.min()) / 255
    assert free.min() - step <= made.min() and made.max() <= free.max() + step  # what lies outside is clipped
    np.testing.assert_allclose(rounded(model, x, x), free, atol=step * 0.51)
    np.testing.assert_array_equal(model(x), free)  # and it is over with the context


def test_gradients_pass_inside_the_range_only():
    layer = L.Dense(1, use_bias=False, kernel_initializer="ones")
    model = keras.Sequential([L.Input((1,)), layer])
    with quantized_activations(model, np.float32([[1.0]])):
        for value, passes in ((0.5, 0.5), (2.0, 0.0)):
            with tf.GradientTape() as tape:
                out = tf.reduce_sum(model(tf.constant([[value]])))
            assert float(tape.gradient(out, layer.kernel)) == passes


def outputs_rounded(layers, x) -> list[bool]:
    """Whether each layer's output lies on a grid of at most 256 values."""
    model = keras.Sequential([L.Input(x.shape[1:]), *layers])
    taps = keras.Model(model.input, [layer.output for layer in model.layers])
    with quantized_activations(model, x):
        return [len(np.unique(out)) <= 256 for out in taps(x)]


def test_what_tflite_fuses_into_the_next_operation_is_left_alone(x):
    layers = [L.Dense(40), L.BatchNormalization(), L.ReLU(), L.Dense(40), L.Activation("tanh"), L.Dense(40)]
    assert outputs_rounded(layers, x) == [False, False, True, True, True, True]


def test_nested_and_shared_layers_are_reached(x):
    inner = keras.Sequential([L.Input((8,)), L.Dense(8)], name="inner")
    image = L.Input((8,))
    model = keras.Model(image, inner(inner(image)))
    free = model(x).numpy()
    made = rounded(model, x, x)
    assert len(np.unique(free)) > 256 >= len(np.unique(made))


def test_several_inputs_are_calibrated_together(x):
    a, b = L.Input((8,)), L.Input((8,))
    model = keras.Model([a, b], L.Add()([L.Dense(8)(a), L.Dense(8)(b)]))
    with quantized_activations(model, [x, -x]):
        assert len(np.unique(model([x, -x]))) <= 256


def test_an_output_that_is_always_zero_stays_zero(x):
    model = keras.Sequential([L.Input((8,)), L.Dense(4, kernel_initializer="zeros")])
    np.testing.assert_array_equal(rounded(model, x, x), np.zeros((64, 4)))
