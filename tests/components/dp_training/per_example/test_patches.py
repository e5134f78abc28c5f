"""Gathered windows against TensorFlow's own, both ways."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from components.dp_training.per_example import patches


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_windows_equal_extract_patches_whole_and_in_strips(padding):
    for kernel, (strides, dilation), channels in itertools.product(
        [(1, 1), (3, 2), (4, 4)], [((1, 1), (1, 1)), ((2, 3), (1, 1)), ((1, 1), (2, 2))], [1, 3]
    ):
        images = np.random.default_rng(0).random((2, 9, 8, channels), np.float32)
        win = patches.window((9, 8), kernel, strides, dilation, padding)
        theirs = tf.image.extract_patches(images, [1, *kernel, 1], [1, *strides, 1], [1, *dilation, 1], padding.upper())
        whole, strips = patches.patches(tf.constant(images), win), patches.strips(tf.constant(images), win)
        assert win.positions((9, 8)) == tuple(theirs.shape[1:3])
        np.testing.assert_array_equal(whole, tf.reshape(theirs, whole.shape))
        np.testing.assert_array_equal(tf.reshape(tf.transpose(strips, [0, 2, 1, 3]), whole.shape), whole)


def test_the_first_layer_of_the_cnn_takes_strips_and_the_second_gathers_pixels():
    first = patches.window((28, 28), (8, 8), (2, 2), (1, 1), "same")
    second = patches.window((13, 13), (4, 4), (2, 2), (1, 1), "valid")
    assert patches.strips_are_cheaper(tf.zeros((1, 28, 28, 1)), first)
    assert not patches.strips_are_cheaper(tf.zeros((1, 13, 13, 16)), second)
