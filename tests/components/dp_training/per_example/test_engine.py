"""The engine as a whole: sensitivity, fallbacks, arguments, and planted bugs that the comparison must notice."""

import logging
import re

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.common.legacy_keras import keras
from components.dp_training.config import MODELS
from components.dp_training.models import build
from components.dp_training.per_example import capture, clipped_gradient_sum, engine, plan, terms, vectorized

L = keras.layers
SOME = settings(max_examples=8, suppress_health_check=list(HealthCheck))


def batch(model, n, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.random((n, *model.input_shape[1:]), np.float32)
    images = images if model.inputs[0].dtype.is_floating else (4 * images).astype(np.int32)
    return tf.constant(images), tf.constant(rng.integers(0, model.output_shape[-1], n))


def small():
    """A convolution that is used twice, and layers of several kinds."""
    keras.utils.set_random_seed(3)
    image = L.Input((8, 8, 2))
    layer = L.Conv2D(2, 3, padding="same", activation="tanh")
    hidden = L.Flatten()(L.GroupNormalization(2)(layer(layer(image))))
    return keras.Model(image, L.Dense(3)(L.Dense(6, activation="tanh")(hidden)))


@pytest.mark.parametrize("name", MODELS)
@SOME
@given(seed=st.integers(0, 99), clip=st.sampled_from([1e-3, 0.3, 100.0]), removed=st.integers(0, 3))
def test_one_example_moves_the_sum_by_at_most_the_clip_norm(name, naive, seed, clip, removed):
    model, compiled = factory(name)
    images, labels = batch(model, 4, seed)
    everyone, without = np.ones(4, np.float32), np.ones(4, np.float32)
    without[removed] = 0.0
    pairs = zip(
        compiled(images, labels, everyone, np.float32(clip)),
        compiled(images, labels, without, np.float32(clip)),
        strict=True,
    )
    moved = naive.norm([(a - b).numpy() for a, b in pairs])
    assert 0.0 < moved <= clip * (1 + 1e-5)


def factory(name, made={}):  # noqa: B006 - one graph for all draws
    if name not in made:
        model = build(name, (28, 28, 1), 10)
        made[name] = model, tf.function(lambda *args: clipped_gradient_sum(model, *args))
    return made[name]


@pytest.mark.parametrize("name", MODELS)
def test_every_model_factory_equals_the_naive_loop_in_closed_form(name, naive, caplog):
    model = build(name, (28, 28, 1), 10)
    images, labels = batch(model, 4)
    found = tf.function(lambda *args: clipped_gradient_sum(model, *args))(images, labels, tf.ones(4), 1.0)
    naive.assert_clipped_sum(found, naive.gradients_one_by_one(model, images, labels), 1.0)
    assert not caplog.records


def test_padding_and_an_empty_batch_add_nothing():
    model = small()
    images, labels = batch(model, 3)
    full = clipped_gradient_sum(model, images[:2], labels[:2], tf.ones(2), 0.1)
    padded = clipped_gradient_sum(model, images, labels, tf.constant([1.0, 1.0, 0.0]), 0.1)
    for a, b in zip(full, padded, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8)
    assert all(not np.any(g) for g in clipped_gradient_sum(model, images, labels, tf.zeros(3), 0.1))
    assert all(not np.any(g) for g in clipped_gradient_sum(model, images[:0], labels[:0], tf.zeros(0), 0.1))


def test_takes_another_loss(naive):
    model = small()
    images, targets = batch(model, 4)[0], tf.constant(np.random.default_rng(1).random((4, 3), np.float32))

    def squared(labels, outputs):
        return tf.reduce_sum((labels - outputs) ** 2, 1)

    found = clipped_gradient_sum(model, images, targets, tf.ones(4), 0.5, loss=squared)
    naive.assert_clipped_sum(found, naive.gradients_one_by_one(model, images, targets, loss=squared), 0.5)


def test_halves_of_a_batch_add_up_to_the_whole(monkeypatch):
    model = small()
    images, labels = batch(model, 10)[0], batch(model, 5)[1]
    present = tf.constant([1.0, 0.0, 1.0, 1.0, 1.0])
    whole = clipped_gradient_sum(model, images, labels, present, 0.2, multiplicity=2)
    monkeypatch.setattr(engine, "_WORTH_HALVING", 5)
    halves = tf.function(lambda *args: clipped_gradient_sum(model, *args, 0.2, multiplicity=2))
    for a, b in zip(halves(images, labels, present), whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)


def test_dropout_draws_for_each_example_and_is_clipped_like_the_rest(naive):
    image = L.Input((8, 8, 2))
    hidden = L.SpatialDropout2D(0.3)(L.Conv2D(3, 3, activation="tanh")(image))
    model = keras.Model(image, L.Dense(3)(L.Dropout(0.5)(L.Flatten()(hidden))))
    images, labels = batch(model, 4)
    alone = [clipped_gradient_sum(model, images, labels, tf.one_hot(i, 4), 1e-2) for i in range(4)]
    assert all(0.99e-2 < naive.norm([g.numpy() for g in found]) <= 1e-2 * (1 + 1e-5) for found in alone)
    assert not np.allclose(alone[0][-2], clipped_gradient_sum(model, images, labels, tf.one_hot(0, 4), 1e-2)[-2])


class Tied(L.Layer):
    """Uses another layer's weight past that layer."""

    def __init__(self, owner):
        super().__init__()
        self._owner = [owner]

    def call(self, inputs):
        return inputs @ tf.transpose(self._owner[0].kernel)


def tied():
    x = L.Input((5,))
    layer = L.Dense(4)
    return keras.Model(x, Tied(layer)(L.Activation("tanh")(layer(x))))


class Block(L.Layer):
    """Puts together layers that have closed forms, in a way that is not known."""

    def __init__(self):
        super().__init__()
        self.first, self.second = L.Dense(4, activation="tanh"), L.Dense(4)

    def call(self, inputs):
        return self.second(self.first(inputs)) + self.second(inputs)


def sequence(*layers):
    return lambda: keras.Sequential([L.InputLayer((5, 4)), *(layer() for layer in layers), L.Flatten(), L.Dense(3)])


def attention(**options):
    x = L.Input((5, 4))
    return keras.Model(x, L.Dense(3)(L.Flatten()(L.MultiHeadAttention(2, 3, **options)(x, x))))


def masked():
    ids = L.Input((2,), dtype="int32")
    hidden = L.SimpleRNN(3, unroll=True, name="memory")(L.Embedding(4, 2, mask_zero=True)(ids))
    return keras.Model(ids, L.Dense(3)(hidden))


FALLBACKS = {
    "masked": (masked, "layers memory: "),
    "block": (sequence(Block), "the whole model .* of class Block is not known to keep examples apart"),
    "recurrent": (sequence(lambda: L.SimpleRNN(3, name="memory", unroll=True)), "layers memory: "),
    "for each time": (sequence(lambda: L.TimeDistributed(L.Dense(2), name="times")), "layers times: "),
    "attention": (attention, "layers multi_head_attention"),
    "weight past its layer": (tied, "the whole model .* of class Tied is not known to keep examples apart"),
    "weight in an activation": (sequence(lambda: L.Dense(4, activation=L.PReLU())), "the whole model .*act outside"),
    "noise inside": (lambda: attention(dropout=1e-12), "the whole model .*cannot be run again"),
}


@pytest.mark.parametrize(
    "name, multiplicity", [(name, 1) for name in FALLBACKS] + [("attention", 2), ("noise inside", 2)]
)
def test_what_has_no_closed_form_falls_back_and_says_so_once(name, multiplicity, naive, caplog):
    make, said = FALLBACKS[name]
    model = make()
    images, labels = batch(model, 3 * multiplicity)[0], tf.constant([0, 1, 2])
    with caplog.at_level(logging.WARNING):
        compiled = tf.function(lambda *args: clipped_gradient_sum(model, *args, multiplicity=multiplicity))
        for clip in (0.3, 0.4):
            found = compiled(images, labels, tf.ones(3), clip)
    naive.assert_clipped_sum(found, naive.gradients_one_by_one(model, images, labels, multiplicity), 0.4)
    messages = [r.getMessage() for r in caplog.records if "by tf.vectorized_map" in r.getMessage()]
    assert len(messages) == 1
    assert all(re.search(said, message) for message in messages)


def test_rows_are_taken_one_by_one_where_vectorized_map_cannot(monkeypatch):
    def cannot(function, rows):
        raise TypeError("no rule for this operation")

    rows = tf.reshape(tf.range(6.0), [3, 2])
    expected = vectorized.over_rows(lambda row: [row[0] + row[1], row**2], rows)
    monkeypatch.setattr(tf, "vectorized_map", cannot)
    for ours, theirs in zip(vectorized.over_rows(lambda r: [r[0] + r[1], r**2], rows), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def batch_clipped(squared_norms, present, clip):
    """The bug: one weight for the whole batch."""
    norm = tf.sqrt(tf.reduce_sum(squared_norms * present))
    return present * tf.minimum(1.0, clip / norm)


def without_first_layer(pairs, n):
    """The bug: one layer's gradient is not in the norm."""
    found = engine_by_variable(pairs, n)
    first = next(iter(found.values()))
    first.squared_norms = lambda: 0.0 * type(first).squared_norms(first)
    return found


class Separately(terms.Direct):
    """The bug: norms of parts added up, where the norm of their sum is meant."""

    def __init__(self, parts):
        super().__init__(tf.add_n([part.materialised() for part in parts]))
        self._parts = parts

    def squared_norms(self):
        return tf.add_n([part.squared_norms() for part in self._parts])


def merged_by_norm(parts, n):
    every = [part if n is None else part.grouped(n) for part in parts]
    return every[0] if len(every) == 1 else Separately(every)


def copies_clipped_apart(model, images, labels, present, clip, *, multiplicity):
    """The bug: each augmented copy is clipped by itself, then averaged."""
    args = model, images, tf.repeat(labels, multiplicity), tf.repeat(present, multiplicity), clip
    return [g / multiplicity for g in real_sum(*args)]


engine_by_variable, real_sum = engine.by_variable, engine.clipped_gradient_sum
BUGS = {
    "none": lambda patch: None,
    "the batch is clipped": lambda patch: patch.setattr(engine, "clip_weights", batch_clipped),
    "one layer is not clipped": lambda patch: patch.setattr(engine, "by_variable", without_first_layer),
    "a shared layer is counted twice": lambda patch: patch.setattr(engine, "merged", merged_by_norm),
    "each copy is clipped by itself": lambda patch: patch.setattr(engine, "clipped_gradient_sum", copies_clipped_apart),
    "half of a shared layer is forgotten": lambda patch: patch.setattr(engine, "merged", lambda t, n: t[0]),
}


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_caught(bug, naive, monkeypatch):
    model, multiplicity = small(), 2 if "copy" in bug else 1
    images, labels = batch(model, 3 * multiplicity, 5)[0], tf.constant([0, 1, 2])
    examples = naive.gradients_one_by_one(model, images, labels, multiplicity)
    clip = float(np.min([naive.norm(g) for g in examples])) * 0.8
    BUGS[bug](monkeypatch)
    found = engine.clipped_gradient_sum(model, images, labels, tf.ones(3), clip, multiplicity=multiplicity)
    caught = False
    try:
        naive.assert_clipped_sum(found, examples, clip)
    except AssertionError:
        caught = True
    assert caught == (bug != "none")


def test_the_plan_is_made_once_for_a_model_and_again_when_what_trains_changes(monkeypatch):
    traced = []
    monkeypatch.setattr(plan, "_traced", lambda model, spec: traced.append(1) or plan.Plan())
    model = small()
    images, labels = batch(model, 2)
    for _ in range(2):
        clipped_gradient_sum(model, images, labels, tf.ones(2), 1.0)
    model.layers[1].trainable = False
    assert len(clipped_gradient_sum(model, images, labels, tf.ones(2), 1.0)) == len(model.trainable_variables)
    assert len(traced) == 2


def test_layers_are_as_they_were_after_an_error():
    model = small()
    with pytest.raises(RuntimeError), capture.recorded(model):
        raise RuntimeError
    assert all("call" not in layer.__dict__ for layer in model._flatten_layers())
