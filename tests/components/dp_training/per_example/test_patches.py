"""Gathered windows against TensorFlow's own, both ways."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from components.dp_training.per_example import patches


@pytest.mark.parametrize("by_row", [False, True])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_windows_equal_extract_patches(by_row, padding, monkeypatch):
    monkeypatch.setattr(patches, "_selection_is_cheaper", lambda shape, win: by_row)
    for kernel, (strides, dilation), channels in itertools.product(
        [(1, 1), (3, 2), (4, 4)], [((1, 1), (1, 1)), ((2, 3), (1, 1)), ((1, 1), (2, 2))], [1, 3]
    ):
        images = np.random.default_rng(0).random((2, 9, 8, channels), np.float32)
        win = patches.window((9, 8), kernel, strides, dilation, padding)
        theirs = tf.image.extract_patches(images, [1, *kernel, 1], [1, *strides, 1], [1, *dilation, 1], padding.upper())
        ours = patches.patches(tf.constant(images), win)
        assert win.positions((9, 8)) == tuple(theirs.shape[1:3])
        np.testing.assert_array_equal(ours, tf.reshape(theirs, ours.shape))


def test_the_first_layer_of_the_cnn_selects_rows_and_the_second_gathers_pixels():
    first = patches.window((28, 28), (8, 8), (2, 2), (1, 1), "same")
    second = patches.window((13, 13), (4, 4), (2, 2), (1, 1), "valid")
    assert patches._selection_is_cheaper((28, 28, 1), first)
    assert not patches._selection_is_cheaper((13, 13, 16), second)
