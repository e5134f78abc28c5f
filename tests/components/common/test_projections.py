"""What kernels are held to, one by one and together, and that training moves what stands behind."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from components.common.projections import Centroids, FixedZeros, Held, Int8Grid, lloyd

DRAW = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray:
    return DRAW.normal(size=shape).astype(np.float32)


def test_zeros_stay_and_all_else_passes():
    kernel = weights(3, 4) * (weights(3, 4) > 0)
    held = FixedZeros(kernel)
    moved = weights(3, 4)
    np.testing.assert_array_equal(held(tf.constant(moved)), moved * (kernel != 0))


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_each_channel_takes_its_own_nearest_centroids(axis):
    kernel, starts = weights(2, 3, 4, 5), np.sort(weights((2, 3, 4, 5)[axis], 3), axis=1)
    made = np.moveaxis(Centroids(starts, axis)(tf.constant(kernel)).numpy(), axis, 0)
    for channel, found, centroids in zip(np.moveaxis(kernel, axis, 0), made, starts, strict=True):
        nearest = centroids[np.abs(channel[..., None] - centroids).argmin(-1)]
        np.testing.assert_array_equal(found, nearest)


def test_centroids_leave_zeros_alone_and_follow_the_mean_of_the_others():
    kernel = np.float32([0, 0, 1.0, 1.2, -3.0, -3.4])
    held = Centroids(np.float32([[-1, 1]]), 0)
    held.update(kernel, 0.0)
    np.testing.assert_allclose(held(tf.constant(kernel)), [0, 0, 1.1, 1.1, -3.2, -3.2], rtol=1e-6)


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=60), st.integers(1, 8))
@settings(max_examples=60)
def test_lloyd_never_errs_more_than_where_it_started(values, count):
    values = np.float32(values)
    starts = np.sort(DRAW.choice(values, count)).astype(np.float32)

    def error(centroids):
        return np.sum(np.min((values[:, None] - centroids) ** 2, axis=1))

    moved = lloyd(values, starts, 20)
    assert np.all(np.diff(moved) >= 0) and error(moved) <= error(starts) * (1 + 1e-5) + 1e-6


@pytest.mark.parametrize("axes", [(), (1,)])
def test_the_grid_has_at_most_255_values_a_scale_and_keeps_the_largest_weight(axes):
    kernel = weights(2000, 2) * np.float32([1, 100])
    made = Int8Grid(2, *axes)(tf.constant(kernel)).numpy()
    scales = np.abs(kernel).max(axis=0 if axes else None) / 127
    codes = made / scales
    np.testing.assert_allclose(codes, np.round(codes), atol=1e-3)
    assert (
        np.abs(codes).max() == pytest.approx(127, abs=1e-3) and np.abs(made - kernel).max() <= scales.max() / 2 * 1.01
    )
    np.testing.assert_allclose(Int8Grid(2, *axes)(tf.constant(made)), made, rtol=1e-5)


def test_a_depthwise_kernel_has_a_scale_for_each_of_its_two_axes_of_channels():
    kernel = weights(3, 3, 4, 2)
    codes = Int8Grid(4, 2, 3)(tf.constant(kernel)).numpy() / np.abs(kernel).max((0, 1)) * 127
    np.testing.assert_allclose(codes, np.round(codes), atol=1e-3)
    assert np.all(np.abs(codes).max((0, 1)) > 126.9)


def test_a_kernel_of_zeros_stays_one_on_the_grid():
    np.testing.assert_array_equal(Int8Grid(2, 1)(tf.zeros((3, 2))), np.zeros((3, 2)))


def test_projections_are_applied_in_turn_and_what_stands_behind_comes_back():
    kernel = weights(40, 3)
    variable = tf.Variable(kernel)
    sparse = kernel * (np.abs(kernel) > 0.5)
    held = Held([(variable, [FixedZeros(sparse), Centroids(np.float32([[-1, 1]]), 1), Int8Grid(2)])])
    held.update(0.0)
    with held.projected():
        inside = variable.numpy()
    assert len(np.unique(inside)) == 3 and np.all((inside == 0) == (sparse == 0))
    np.testing.assert_array_equal(variable, kernel)
    held.settle()
    np.testing.assert_array_equal(variable.numpy() == 0, sparse == 0)
    assert len(np.unique(variable)) == 3


def test_no_gradient_reaches_what_is_held_at_zero():
    kernel = weights(40, 3) * (weights(40, 3) > 0)
    variable, other = tf.Variable(kernel), tf.Variable(weights(2))
    held = Held([(variable, [FixedZeros(kernel), Int8Grid(2)])])
    gradients = [tf.ones((40, 3)), tf.ones(2), None]
    found = held.passed(gradients, [variable, other, tf.Variable(0.0)])
    np.testing.assert_array_equal(found[0], (kernel != 0).astype(np.float32))
    np.testing.assert_array_equal(found[1], np.ones(2))
    assert found[2] is None


def test_centroids_follow_their_weights_at_first_and_stay_later():
    centroids, moved = Centroids(np.float32([[-1.0, 1.0]]), 1), np.float32([[-3.0, 2.0], [-5.0, 4.0]])
    centroids.update(moved, 0.5)
    assert set(centroids(tf.constant(moved)).numpy().ravel()) == {-4.0, 3.0}
    centroids.update(2 * moved, 0.7)
    assert set(centroids(tf.constant(moved)).numpy().ravel()) == {-4.0, 3.0}
