"""Pruning and clustering that keep a layer's outputs."""

import numpy as np
import pytest

from components.common.compensation import bias_shift, cluster_dense, inputs_of, prune_dense, saliency_of

DRAW = np.random.default_rng(0)
ROWS = (
    DRAW.standard_normal((3000, 8)) @ DRAW.standard_normal((8, 60)) + 0.1 * DRAW.standard_normal((3000, 60)) + 2
).astype(np.float32)
KERNEL = DRAW.standard_normal((60, 5)).astype(np.float32)
LEVELS = np.linspace(-3, 3, 7, dtype=np.float32)[None]


def error(after):
    """Mean square by which outputs move, as a fraction of their variance."""
    shift = bias_shift(KERNEL, after, inputs_of([ROWS]))
    return np.mean((ROWS @ (KERNEL - after) - shift) ** 2) / np.var(ROWS @ KERNEL, axis=0).mean()


def nearest(kernel):
    return LEVELS[0][np.abs(kernel[..., None] - LEVELS[0]).argmin(-1)]


def pruned_to(kernel, inputs, sparsity):
    saliency = saliency_of(kernel, inputs)
    return prune_dense(kernel, inputs, saliency >= np.quantile(saliency, sparsity))


def plain_pruned(sparsity):
    return np.where(np.abs(KERNEL) > np.quantile(np.abs(KERNEL), sparsity), KERNEL, 0)


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.8])
def test_pruning_has_the_sparsity_and_a_tenth_of_the_error(sparsity):
    pruned = pruned_to(KERNEL, inputs_of([ROWS], damping=0.001), sparsity)
    assert np.mean(pruned == 0) == pytest.approx(sparsity, abs=0.01)
    assert error(pruned) <= 0.1 * error(plain_pruned(sparsity)) + 1e-6


def test_all_weights_can_go():
    assert not prune_dense(KERNEL, inputs_of([ROWS]), np.zeros(KERNEL.shape, bool)).any()


def test_inputs_that_vary_more_keep_their_weights():
    rows = DRAW.standard_normal((500, 4)).astype(np.float32) * np.array([1, 1, 9, 9], np.float32)
    pruned = pruned_to(np.ones((4, 2), np.float32), inputs_of([rows]), 0.5)
    assert not pruned[:2].any() and pruned[2:].all()


@pytest.mark.parametrize("about_mean", [True, False])
def test_moments_of_many_rows_are_single_precision_too(about_mean):
    inputs = inputs_of([np.ones((40_000, 2), np.float32)] * 2, about_mean)
    assert inputs.mean.dtype == inputs.covariance.dtype == np.float32


def test_clusters_are_the_centroids_at_a_fraction_of_the_error():
    clustered = cluster_dense(KERNEL, inputs_of([ROWS], damping=0.001), LEVELS)
    plain = nearest(KERNEL)
    assert set(np.unique(clustered)) <= set(LEVELS[0])
    assert error(clustered) < 0.2 * error(plain)


def test_inputs_without_correlation_are_rounded_to_the_nearest():
    inputs = inputs_of([DRAW.standard_normal((10, 60)).astype(np.float32)])
    inputs.covariance[:] = np.eye(60)
    plain = nearest(KERNEL)
    np.testing.assert_array_equal(cluster_dense(KERNEL, inputs, LEVELS), plain)


def test_more_rows_than_a_block_are_as_one_sweep(monkeypatch):
    inputs = inputs_of([ROWS])
    whole = cluster_dense(KERNEL, inputs, LEVELS)
    monkeypatch.setattr("components.common.compensation._BLOCK", 7)
    assert np.mean(cluster_dense(KERNEL, inputs, LEVELS) != whole) < 0.02


def test_clustering_keeps_zeros():
    inputs = inputs_of([ROWS])
    pruned = pruned_to(KERNEL, inputs, 0.7)
    clustered = cluster_dense(pruned, inputs, LEVELS, keep_zeros=True)
    assert not clustered[pruned == 0].any()


def test_each_unit_may_have_centroids_of_its_own():
    own = np.sort(DRAW.standard_normal((5, 4)).astype(np.float32), axis=1)
    clustered = cluster_dense(KERNEL, inputs_of([ROWS]), own)
    for unit, centroids in zip(clustered.T, own, strict=True):
        assert set(np.unique(unit)) <= set(centroids) and len(np.unique(unit)) > 1


def test_moments_are_those_of_all_batches_whatever_the_mean():
    rows = (DRAW.standard_normal((500, 3)) + [0, 50, 5000]).astype(np.float32)
    inputs = inputs_of(np.split(rows, [1, 40, 300]), damping=0.0)
    np.testing.assert_allclose(inputs.mean, rows.astype(np.float64).mean(0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(inputs.covariance, np.cov(rows.astype(np.float64).T, bias=True), atol=2e-2)


def test_moments_about_zero_are_for_layers_without_bias():
    inputs = inputs_of([ROWS[:10], ROWS[10:]], about_mean=False, damping=0.0)
    np.testing.assert_allclose(inputs.covariance, ROWS.T @ ROWS / len(ROWS), rtol=1e-3, atol=1e-3)
    assert not inputs.mean.any()


def test_inputs_that_never_change_still_have_a_covariance_of_full_rank():
    inputs = inputs_of([np.zeros((7, 60), np.float32)])
    np.testing.assert_array_equal(cluster_dense(KERNEL, inputs, LEVELS), nearest(KERNEL))


def test_mean_outputs_stay():
    after = plain_pruned(0.8)
    moved = (ROWS @ after + bias_shift(KERNEL, after, inputs_of([ROWS]))).mean(0)
    np.testing.assert_allclose(moved, (ROWS @ KERNEL).mean(0), rtol=1e-3, atol=1e-2)
