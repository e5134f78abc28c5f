"""The same closed forms inside tensorflow-privacy, and its own results on the layers that it has."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_privacy.privacy.fast_gradient_clipping import clip_grads
from tensorflow_privacy.privacy.keras_models.dp_keras_model import make_dp_model_class

from components.common.legacy_keras import keras
from components.dp_training.models import build
from components.dp_training.per_example.engine import cross_entropy, gradient_terms
from components.dp_training.per_example.plan import Plan
from components.dp_training.per_example.rules import RULES
from components.dp_training.per_example.tfp import layer_registry, make_default_layer_registry

L = keras.layers


def our_norms(model, inputs, labels):
    terms = gradient_terms(model, Plan(), tf.constant(inputs), tf.constant(labels), cross_entropy, 1)
    return np.sqrt(tf.add_n([term.squared_norms() for term in terms.values()]))


def tfp_norms(model, inputs, labels, registry, microbatches=None):
    def losses(y, logits, weights):
        return cross_entropy(y, logits)

    return clip_grads.compute_gradient_norms(
        model, registry, tf.constant(inputs), tf.constant(labels), None, losses, num_microbatches=microbatches
    ).numpy()


def words():
    ids = L.Input((6,), dtype="int32")
    hidden = L.Dense(4, activation="tanh")(L.Embedding(5, 3)(ids))
    return keras.Model(ids, L.Dense(3)(L.Flatten()(hidden)))


def images():
    image = L.Input((8, 8, 2))
    hidden = L.GroupNormalization(2)(L.Conv2D(4, 3, activation="tanh")(image))
    hidden = keras.Sequential([L.SeparableConv2D(3, 2), L.DepthwiseConv2D(2)])(hidden)
    hidden = L.LayerNormalization()(L.Conv1D(2, 2, padding="causal")(L.Reshape((16, 3))(hidden)))
    return keras.Model(image, L.Dense(3)(L.Flatten()(hidden)))


def test_equal_tfp_own_norms_on_the_layers_that_it_has():
    inputs, labels = np.random.default_rng(0).integers(0, 5, (5, 6)), np.array([0, 1, 2, 0, 1])
    model = words()
    theirs = tfp_norms(model, inputs, labels, make_default_layer_registry())
    np.testing.assert_allclose(our_norms(model, inputs, labels), theirs, rtol=1e-5)


@pytest.mark.parametrize("microbatches", [None, 2])
@pytest.mark.parametrize("make", [words, images])
def test_registered_rules_give_tfp_the_norms_of_the_naive_loop(make, microbatches, naive):
    model, rng = make(), np.random.default_rng(1)
    inputs = rng.integers(0, 5, (4, 6)) if make is words else rng.random((4, 8, 8, 2), np.float32)
    labels = np.array([0, 1, 2, 0])
    examples = naive.gradients_one_by_one(model, tf.constant(inputs), labels)
    if microbatches:
        examples = [[(a + b) / 2 for a, b in zip(examples[i], examples[i + 1], strict=True)] for i in (0, 2)]
    found = tfp_norms(model, inputs, labels, layer_registry(), microbatches)
    np.testing.assert_allclose(found, [naive.norm(g) for g in examples], rtol=1e-5)


def test_a_layer_called_twice_has_the_norm_of_the_sum_where_tfp_has_more_or_less(naive):
    x = L.Input((4,))
    layer = L.Dense(4, activation="tanh")
    model = keras.Model(x, L.Dense(3)(layer(layer(x))))
    inputs, labels = np.random.default_rng(2).random((4, 4), np.float32), np.array([0, 1, 2, 0])
    truth = [naive.norm(g) for g in naive.gradients_one_by_one(model, tf.constant(inputs), labels)]
    np.testing.assert_allclose(tfp_norms(model, inputs, labels, layer_registry()), truth, rtol=1e-5)
    own = tfp_norms(model, inputs, labels, make_default_layer_registry())
    assert not np.allclose(own, truth, rtol=1e-3)


def test_every_rule_is_registered_and_dp_model_takes_its_fast_path():
    registry = layer_registry()
    assert all(registry._layer_class_dict[hash(layer)] is layer for layer in RULES)
    plain = build("tanh_cnn", (28, 28, 1), 10)
    options = {"l2_norm_clip": 1.0, "noise_multiplier": 0.0, "use_xla": False, "layer_registry": registry}
    model = make_dp_model_class(keras.Model)(**options, inputs=plain.inputs, outputs=plain.outputs)
    assert model._enable_fast_peg_computation
    before = [v.numpy() for v in model.trainable_variables]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.legacy.SGD(1.0), loss)
    images_, labels = np.random.default_rng(3).random((4, 28, 28, 1), np.float32), np.array([1, 2, 3, 4])
    model.train_on_batch(images_, labels)
    moved = np.sqrt(sum(np.sum((v.numpy() - b) ** 2) for v, b in zip(model.trainable_variables, before, strict=True)))
    assert 0.0 < moved <= 1.0 + 1e-5
