"""What layers are fed, in any model, and changes that make up for what they lose."""

import numpy as np
import pytest
import tensorflow as tf

from components.common import layer_inputs
from components.common.compensation import cluster_dense
from components.common.errors import ModelError
from components.common.kernels import kernels
from components.common.layer_inputs import compensate, images_for
from components.common.legacy_keras import keras
from components.dp_training.synthetic import random_images
from tests.components.zoo import make, public_inputs

L = keras.layers
IMAGES = random_images(500, (12, 12, 3))


def convolved(layer, shape=(12, 12, 3)):
    """A model whose middle layer is `layer`, with a bias that is not zero."""
    model = keras.Sequential([L.Input(shape), L.ReLU(), layer, L.Flatten(), L.Dense(3)])
    if layer.use_bias:
        layer.bias.assign(np.arange(layer.bias.shape[0], dtype=np.float32))
    return model


def seen(model, images) -> dict:
    """The moments and the matrix of every kernel; nothing is changed."""
    found = {}

    def look(name, matrix, inputs):
        found[name] = (matrix, inputs)
        return matrix

    assert compensate(model, kernels(model), images, look) == {}
    return found


@pytest.mark.parametrize(
    "layer",
    [
        lambda: L.Dense(4, name="it"),
        lambda: L.Conv2D(4, 3, name="it"),
        lambda: L.Conv2D(4, (2, 3), strides=(2, 1), padding="same", name="it"),
        lambda: L.Conv2D(4, 3, dilation_rate=2, name="it"),
    ],
    ids=["dense over positions", "valid", "strides and padding", "dilation"],
)
def test_mean_inputs_through_the_matrix_are_mean_outputs(layer):
    """Only the right patches in the right order give the layer's own outputs."""
    model = convolved(layer())
    matrix, inputs = seen(model, [IMAGES])["it"]
    outputs = keras.Model(model.inputs, model.get_layer("it").output)(IMAGES).numpy().reshape(-1, 4)
    bias = model.get_layer("it").bias.numpy()
    np.testing.assert_allclose(inputs.mean @ matrix + bias, outputs.mean(0), atol=1e-4)
    damping = np.mean(np.diag(inputs.covariance)) * 0.1 / 1.1
    undamped = inputs.covariance - damping * np.eye(len(matrix))
    np.testing.assert_allclose(np.diag(matrix.T @ undamped @ matrix), outputs.var(0), rtol=1e-3)


@pytest.mark.parametrize("padding", ["valid", "same", "causal"])
def test_columns_are_like_images(padding):
    model = convolved(L.Conv1D(4, 3, dilation_rate=2, padding=padding, name="it"), (12, 3))
    rows = IMAGES[:, :, 6]
    matrix, inputs = seen(model, [rows])["it"]
    outputs = keras.Model(model.inputs, model.get_layer("it").output)(rows).numpy().reshape(-1, 4)
    np.testing.assert_allclose(inputs.mean @ matrix + np.arange(4), outputs.mean(0), atol=1e-4)


def test_a_layer_without_bias_has_moments_about_zero():
    _, inputs = seen(convolved(L.Conv2D(4, 3, use_bias=False, name="it")), [IMAGES])["it"]
    assert not inputs.mean.any() and inputs.covariance.min() > 0


def test_the_calls_of_a_shared_layer_are_taken_together():
    image, dense = L.Input((4,)), L.Dense(4, name="shared")
    model = keras.Model(image, L.Dense(2)(dense(dense(image))))
    rows = np.random.default_rng(0).standard_normal((500, 4)).astype(np.float32)
    _, inputs = seen(model, [rows])["shared"]
    fed = np.concatenate([rows, dense(rows).numpy()])
    np.testing.assert_allclose(inputs.mean, fed.mean(0), atol=1e-5)


def test_small_batches_have_the_same_moments_and_a_layer_takes_no_more_images_than_it_needs(monkeypatch):
    model = convolved(L.Conv2D(4, 3, name="it"))
    _, whole = seen(model, [IMAGES[:20]])["it"]
    monkeypatch.setattr(layer_inputs, "_LEAST_IMAGES", 20)
    monkeypatch.setattr(layer_inputs, "_BATCH_VALUES", 3 * 100 * 27)
    _, inputs = seen(model, [IMAGES])["it"]
    np.testing.assert_allclose(inputs.mean, whole.mean, rtol=1e-5)
    np.testing.assert_allclose(inputs.covariance, whole.covariance, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["nested", "residual", "two_inputs", "shared", "conv1d"])
def test_a_layer_is_fed_by_the_layers_before_it_as_they_are_by_then(name):
    model = make(name)
    images = public_inputs(model, 100)
    last, fed = list(kernels(model))[-1], {}

    def halved(name, matrix, inputs):
        fed[name] = inputs.mean
        return matrix / 2

    assert compensate(model, kernels(model), images, halved) == {}
    now = {}

    def look(name, matrix, inputs):
        now[name] = inputs.mean
        return matrix

    compensate(model, kernels(model), images, look)
    np.testing.assert_allclose(now[last], fed[last], rtol=1e-4, atol=1e-5)


def test_mean_outputs_of_the_model_stay_when_its_last_layer_changes():
    model = make("sequential")
    images = public_inputs(model, 500)
    before = model(images[0]).numpy().mean(0)
    found = {"logits": kernels(model)["logits"]}
    levels = np.linspace(-1, 1, 3, dtype=np.float32)[None]
    compensate(model, found, images, lambda name, matrix, inputs: cluster_dense(matrix, inputs, levels))
    assert len(np.unique(found["logits"].variable)) <= 3
    np.testing.assert_allclose(model(images[0]).numpy().mean(0), before, atol=1e-3)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (L.Conv2DTranspose(4, 3, name="it"), "there is no rule for the inputs of layers of type Conv2DTranspose"),
        (L.SeparableConv2D(4, 3, name="it"), "there is no rule for the inputs of layers of type SeparableConv2D"),
        (L.Conv2D(6, 3, groups=3, name="it"), "its channels have groups, or come first"),
    ],
)
def test_a_layer_that_it_cannot_do_is_left_alone_and_told(layer, reason):
    model = convolved(layer)
    before = [w.numpy() for w in layer.weights]
    told = compensate(model, kernels(model), [IMAGES], lambda name, matrix, inputs: matrix * 0)
    assert told == {"it": f"compressed without compensation: {reason}"}
    assert all(np.array_equal(w, b) for w, b in zip(layer.weights, before, strict=True))


def test_a_layer_of_too_many_inputs_is_left_alone_and_told():
    model = keras.Sequential([L.Input((6001,)), L.Dense(2, name="wide"), L.Dense(2, name="narrow")])
    told = compensate(model, kernels(model), [np.ones((2, 6001), np.float32)], lambda name, matrix, inputs: matrix)
    says = "6,001 inputs are more than 6,000, whose covariance would take too much memory"
    assert told == {"wide": f"compressed without compensation: {says}"}


def test_random_images_read_nothing_and_public_ones_are_the_first_given():
    model = make("two_outputs")
    (drawn,) = images_for("random", model, None)
    assert len(drawn) * np.prod(drawn.shape[1:]) <= 1 << 23 and len(drawn) >= 500 and drawn.std() > 0.1
    np.testing.assert_array_equal(drawn, images_for("random", model, np.zeros((3, 12, 12, 1)))[0])
    given = np.random.default_rng(0).random((30, 12, 12, 1)).astype(np.float32)
    np.testing.assert_array_equal(images_for("public", model, given)[0], given)


@pytest.mark.parametrize(
    ("public", "received"),
    [
        (None, r"\[\]"),
        (np.zeros((0, 12, 12, 1)), r"\[\(12, 12, 1\)\]"),
        (np.zeros((5, 12, 12, 3)), r"\[\(12, 12, 3\)\]"),
    ],
    ids=["none", "empty", "another shape"],
)
def test_public_inputs_must_be_there(public, received):
    with pytest.raises(ModelError, match=rf"^public inputs must be there, .*Received: {received}$"):
        images_for("public", make("sequential"), public)


def test_random_images_fit_images_only():
    with pytest.raises(ModelError, match=r"^random images must fit inputs of .* Received: \[\(32, 2\)\]$"):
        images_for("random", make("conv1d"), None)


def test_the_layer_calls_itself_again_afterwards():
    model = convolved(L.Conv2D(4, 3, name="it"))
    seen(model, [IMAGES])
    assert "call" not in model.get_layer("it").__dict__
    assert np.all(np.isfinite(model(tf.constant(IMAGES[:2]))))
