"""The naive loop in float64 that everything here is compared with."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from components.common.legacy_keras import keras

sys.skip_tf_privacy_import = True  # see `per_example.tfp`


def cross_entropy(labels, logits):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def gradients_one_by_one(model, images, labels, multiplicity=1, loss=cross_entropy):
    """A list of float64 gradients an example, from one batch of its copies at a time."""
    found = []
    for index, label in enumerate(labels):
        own = images[index * multiplicity : (index + 1) * multiplicity]
        with tf.GradientTape() as tape:
            mean = tf.reduce_mean(loss(tf.repeat(label[None], multiplicity, 0), model(own, training=True)))
        gradients = tape.gradient(mean, model.trainable_variables, unconnected_gradients="zero")
        found.append([tf.convert_to_tensor(g).numpy().astype(np.float64) for g in gradients])
    return found


def norm(gradients):
    return np.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in gradients))


def clipped(examples, clip):
    """Each example's gradients, clipped as one vector."""
    return [[g * min(1.0, clip / max(norm(own), 1e-300)) for g in own] for own in examples]


def clipped_sum(examples, clip):
    return [np.sum(parts, 0) for parts in zip(*clipped(examples, clip), strict=True)]


def in_float64(build, weights):
    """The same model with float64 weights and arithmetic."""
    keras.backend.set_floatx("float64")
    try:
        model = build()
        model.set_weights([w.astype(np.float64) if w.dtype == np.float32 else w for w in weights])
        return model
    finally:
        keras.backend.set_floatx("float32")


def assert_clipped_sum(found, examples, clip, relative=1e-5):
    """For each weight the difference from the naive sum, in l2, is within `relative` of what was summed: a sum that
    cancels keeps the rounding of its parts."""
    every = clipped(examples, clip)
    whole = sum(norm(own) for own in every)
    for index, (ours, *parts) in enumerate(zip(found, *every, strict=True)):
        difference = norm([np.asarray(ours, np.float64) - np.sum(parts, 0)])
        size = sum(norm([part]) for part in parts)
        assert difference <= relative * (size + 0.05 * whole), f"weight {index}: {difference / size:.1e} of its sum"


@pytest.fixture(name="naive")
def naive_fixture():
    """The functions of this file, for tests that are not packages."""

    class Naive:
        pass

    for function in (gradients_one_by_one, norm, clipped_sum, in_float64, assert_clipped_sum, cross_entropy):
        setattr(Naive, function.__name__, staticmethod(function))
    return Naive
