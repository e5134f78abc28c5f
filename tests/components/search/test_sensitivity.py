"""The scan: every kernel at every level, one at a time, and the model as it was afterwards."""

import itertools

import numpy as np
import pytest

from components.common.examples import scaled
from components.common.kernels import kernels
from components.search.sensitivity import _Divergence, scan


@pytest.fixture(scope="module")
def levels(parent, validation, settings):
    before = [w.copy() for w in parent.get_weights()]
    found = scan(parent, settings, scaled(validation.images))
    for now, then in zip(parent.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    return {(one.kernel, one.sparsity, one.clusters): one for one in found}


def test_every_kernel_is_scanned_at_every_level(levels):
    assert set(levels) == set(itertools.product(("conv", "dense", "logits"), (0.0, 0.5, 0.8), (0, 16, 4)))


def test_a_kernel_left_alone_costs_nothing_and_others_cost_something(levels):
    for (kernel, sparsity, clusters), one in levels.items():
        assert (one.cost == 0) == (sparsity == 0 and clusters == 0), (kernel, sparsity, clusters)


@pytest.mark.parametrize("kernel", ["conv", "dense", "logits"])
def test_more_is_smaller_and_costs_more(levels, kernel):
    for axis in ([(0.0, 0), (0.5, 0), (0.8, 0)], [(0.0, 16), (0.0, 4)]):
        chain = [levels[(kernel, *level)] for level in axis]
        assert [one.bytes for one in chain] == sorted([one.bytes for one in chain], reverse=True)
        assert [one.cost for one in chain] == sorted(one.cost for one in chain)


def test_both_together_cost_the_sum_and_are_smaller_than_each(levels):
    both, pruned, clustered = (levels[("dense", *level)] for level in ((0.8, 4), (0.8, 0), (0.0, 4)))
    assert both.cost == pytest.approx(pruned.cost + clustered.cost)
    assert both.bytes <= min(pruned.bytes, clustered.bytes)


def test_one_kernel_is_changed_at_a_time(parent, validation, settings, levels):
    """The cost of a kernel is what it costs to set its weights alone, by an independent computation."""
    from components.common.compressed import Compressed
    from components.common.kernels import copy_of, kernels
    from components.pruning.config import PruneConfig
    from components.pruning.core import prune

    alone = prune(Compressed(model=parent), PruneConfig(sparsity=0.0, layers={"dense": 0.8}), None).model
    assert np.mean(kernels(alone)["dense"].variable.numpy() == 0) == pytest.approx(0.8, abs=0.01)
    images = scaled(validation.images)
    p, q = (np.exp(s - np.log(np.sum(np.exp(s), 1, keepdims=True))) for s in (copy_of(parent)(images), alone(images)))
    assert levels["dense", 0.8, 0].cost == pytest.approx(float(np.mean(np.sum(p * np.log(p / q), 1))), rel=1e-3)


def test_a_change_that_is_lost_in_rounding_costs_nothing_and_never_less(parent, validation):
    divergence, kernel = _Divergence(parent, scaled(validation.images)), kernels(parent)["dense"]
    values, draw = kernel.variable.numpy(), np.random.default_rng(0)
    costs = [divergence.with_values(kernel, values + draw.normal(0, 1e-6, values.shape)) for _ in range(20)]
    assert min(costs) == 0 and max(costs) < 1e-6
