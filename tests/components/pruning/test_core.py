"""Magnitude pruning: which weights go, that they stay away, and what is reported."""

import numpy as np
import pytest

from components.common.errors import ConfigError
from components.common.layers import kernels
from components.pruning.config import PruneConfig
from components.pruning.core import prune


@pytest.fixture(scope="module")
def model(make_model):
    return make_model()


@pytest.mark.parametrize("sparsity", [0.25, 0.5, 0.9])
def test_exactly_the_smallest_weights_become_zero_and_the_others_stay(model, sparsity):
    pruned, reported = prune(model, PruneConfig(sparsity=sparsity), None)
    for name, before in kernels(model).items():
        after = kernels(pruned)[name]
        gone = after == 0
        assert abs(gone.mean() - sparsity) <= 1 / before.size
        assert reported[name] == gone.mean()
        np.testing.assert_array_equal(after[~gone], before[~gone])
        assert np.abs(before[gone]).max() <= np.abs(before[~gone]).min()


def test_biases_stay(model):
    pruned, _ = prune(model, PruneConfig(sparsity=0.5), None)
    np.testing.assert_array_equal(pruned.get_layer("dense").bias, model.get_layer("dense").bias)


def test_zeros_stay_zeros_through_fine_tuning_while_the_others_move(model, public):
    once, _ = prune(model, PruneConfig(sparsity=0.6), None)
    tuned, reported = prune(model, PruneConfig(sparsity=0.6, epochs=3, learning_rate=0.02), public)
    for name, before in kernels(once).items():
        after = kernels(tuned)[name]
        assert np.all(after[before == 0] == 0)
        assert np.mean(after[before != 0] != before[before != 0]) > 0.5  # a channel pruned away has no gradient
        assert reported[name] == np.mean(after == 0)


def test_no_epochs_leave_the_public_split_alone(model, public):
    given, _ = prune(model, PruneConfig(sparsity=0.6), public)
    withheld, _ = prune(model, PruneConfig(sparsity=0.6), None)
    for a, b in zip(given.get_weights(), withheld.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"sparsity": 0.0}, r"^`sparsity` must be in \(0, 1\). Received: sparsity=0.0$"),
        ({"sparsity": 1.0}, r"^`sparsity` must be in \(0, 1\). Received: sparsity=1.0$"),
        ({"sparsity": 0.5, "epochs": -1}, "^`epochs` must be 0 or more. Received: epochs=-1$"),
        ({"sparsity": 0.5, "learning_rate": 0.0}, "^`learning_rate` must be a finite number above 0"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        PruneConfig(**settings)
