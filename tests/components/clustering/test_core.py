"""Weight clustering: few values a kernel, zeros that stay, and what is reported."""

import numpy as np
import pytest

from components.clustering.config import ClusterConfig
from components.clustering.core import cluster
from components.common.errors import ConfigError
from components.common.layers import kernels
from components.pruning.config import PruneConfig
from components.pruning.core import prune


@pytest.fixture(scope="module")
def model(make_model):
    return make_model()


@pytest.fixture(scope="module")
def pruned(model):
    return prune(model, PruneConfig(sparsity=0.5), None)[0]


@pytest.mark.parametrize("clusters", [2, 8])
def test_a_kernel_has_at_most_so_many_values_and_the_report_is_read_back(model, clusters):
    clustered, reported = cluster(model, ClusterConfig(clusters=clusters), None)
    found = {name: len(np.unique(kernel)) for name, kernel in kernels(clustered).items()}
    assert reported == found
    assert all(2 <= count <= clusters for count in found.values())


def test_more_clusters_stay_closer_to_the_model(model):
    def distance(clusters: int) -> float:
        clustered, _ = cluster(model, ClusterConfig(clusters=clusters), None)
        return float(np.abs(kernels(clustered)["dense"] - kernels(model)["dense"]).mean())

    assert distance(24) < 0.5 * distance(3)


@pytest.mark.parametrize("epochs", [0, 2])
def test_zeros_of_a_pruned_kernel_stay_zeros(pruned, public, epochs):
    config = ClusterConfig(clusters=6, epochs=epochs, learning_rate=0.01)
    clustered, reported = cluster(pruned, config, public if epochs else None)
    for name, before in kernels(pruned).items():
        after = kernels(clustered)[name]
        assert np.all(after[before == 0] == 0)
        assert np.any(after != 0)
        assert len(np.unique(after)) <= 6 and reported[name] == len(np.unique(after))


def test_fine_tuning_moves_the_centroids_and_their_number_holds(model, public):
    clustered, reported = cluster(model, ClusterConfig(clusters=6, epochs=3, learning_rate=0.02), public)
    assert all(2 <= count <= 6 for count in reported.values())
    assert not np.array_equal(clustered.get_layer("dense").bias, model.get_layer("dense").bias)


def test_no_epochs_leave_the_public_split_alone(model, public):
    clustered, _ = cluster(model, ClusterConfig(clusters=6), public)
    np.testing.assert_array_equal(clustered.get_layer("dense").bias, model.get_layer("dense").bias)


def test_a_kernel_that_has_few_values_already_is_left_as_it_is(make_model):
    made = make_model()
    kernel = made.get_layer("logits").kernel
    kernel.assign(np.sign(kernel.numpy()) * 0.25)
    clustered, reported = cluster(made, ClusterConfig(clusters=4), None)
    np.testing.assert_array_equal(kernels(clustered)["logits"], kernel)
    assert reported["logits"] == 2


@pytest.mark.parametrize("clusters", [1, 257, -3])
def test_a_number_of_clusters_out_of_range_is_refused(clusters):
    with pytest.raises(ConfigError, match=rf"^`clusters` must be in \[2, 256\]. Received: clusters={clusters}$"):
        ClusterConfig(clusters=clusters)
