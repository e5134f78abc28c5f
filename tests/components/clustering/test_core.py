"""Weight clustering: few values a kernel or a channel, and zeros that stay."""

import numpy as np
import pytest

from components.clustering.config import ClusterConfig
from components.clustering.core import cluster
from components.common.compressed import Compressed, by_channel
from components.common.errors import ConfigError, ModelError
from components.common.kernels import kernels
from components.common.public_training import fit_public
from components.common.tuning import PublicTuning
from components.pruning.config import PruneConfig
from components.pruning.core import prune

STARTS = ["kmeans++", "linear", "density"]


@pytest.fixture(scope="module")
def parent(make_model):
    return Compressed(model=make_model())


@pytest.fixture(scope="module")
def pruned(parent):
    return prune(parent, PruneConfig(sparsity=0.5), None)


@pytest.fixture(scope="module")
def tune(public):
    return lambda model, held: fit_public(model, public, PublicTuning(epochs=3, learning_rate=0.02), held)


def values(made: Compressed) -> dict[str, np.ndarray]:
    return {name: kernel.variable.numpy() for name, kernel in kernels(made.model).items()}


@pytest.mark.parametrize("tuned", [False, True])
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("clusters", [2, 8])
def test_a_kernel_has_at_most_so_many_values(parent, tune, clusters, start, tuned):
    clustered = cluster(parent, ClusterConfig(clusters=clusters, centroids=start), tune if tuned else None)
    for name, kernel in values(clustered).items():
        assert 2 <= len(np.unique(kernel)) <= clusters == clustered.promises[name].clusters


def test_each_weight_takes_the_nearest_centroid_and_centroids_are_means(parent):
    clustered = cluster(parent, ClusterConfig(clusters=8), None)
    before, after = values(parent)["dense"], values(clustered)["dense"]
    centroids = np.unique(after)
    np.testing.assert_array_equal(after, centroids[np.abs(before[..., None] - centroids).argmin(-1)])
    for centroid in centroids:
        assert centroid == pytest.approx(before[after == centroid].mean(), abs=1e-5)


def test_layers_may_have_numbers_of_their_own(parent):
    clustered = cluster(parent, ClusterConfig(clusters=16, layers={"logits": 3}), None)
    assert {name: len(np.unique(v)) for name, v in values(clustered).items()} == {"conv": 16, "dense": 16, "logits": 3}


def test_a_layer_that_does_not_exist_is_refused(parent):
    with pytest.raises(ModelError, match="must name layers of conv, dense, logits. Received: head$"):
        cluster(parent, ClusterConfig(clusters=4, layers={"head": 3}), None)


@pytest.mark.parametrize("tuned", [False, True])
def test_each_channel_may_have_its_own_values(parent, tune, tuned):
    config = ClusterConfig(clusters=4, per_channel=True)
    clustered = cluster(parent, config, tune if tuned else None)
    for name, kernel in kernels(clustered.model).items():
        rows = by_channel(kernel.variable.numpy(), kernel.channel_axis)
        assert max(len(np.unique(row)) for row in rows) <= 4 < len(np.unique(rows))
        assert clustered.promises[name].per_channel


def test_more_clusters_stay_closer_to_the_model(parent):
    def distance(clusters: int) -> float:
        clustered = cluster(parent, ClusterConfig(clusters=clusters), None)
        return float(np.abs(values(clustered)["dense"] - values(parent)["dense"]).mean())

    assert distance(24) < 0.5 * distance(3)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("tuned", [False, True])
def test_zeros_of_a_pruned_kernel_stay_zeros_and_are_one_of_the_values(pruned, tune, tuned, per_channel):
    clustered = cluster(pruned, ClusterConfig(clusters=6, per_channel=per_channel), tune if tuned else None)
    for name, before in values(pruned).items():
        after = values(clustered)[name]
        assert np.all(after[before == 0] == 0) and np.any(after != 0)
        assert clustered.promises[name].sparsity == pruned.promises[name].sparsity
        if not per_channel:
            assert len(np.unique(after)) <= 6


def test_fine_tuning_moves_the_centroids(parent, tune):
    once = cluster(parent, ClusterConfig(clusters=6), None)
    tuned = cluster(parent, ClusterConfig(clusters=6), tune)
    assert not np.array_equal(np.unique(values(tuned)["dense"]), np.unique(values(once)["dense"]))


def test_a_kernel_that_has_few_values_already_keeps_them(make_model):
    made = make_model()
    kernel = made.get_layer("logits").kernel
    kernel.assign(np.sign(kernel.numpy()) * 0.25)
    clustered = cluster(Compressed(model=made), ClusterConfig(clusters=4), None)
    np.testing.assert_array_equal(values(clustered)["logits"], kernel)


def test_a_kernel_of_zeros_stays_one(make_model):
    made = make_model()
    made.get_layer("logits").kernel.assign(np.zeros((8, 3)))
    clustered = cluster(Compressed(model=made), ClusterConfig(clusters=4), None)
    np.testing.assert_array_equal(values(clustered)["logits"], np.zeros((8, 3)))


@pytest.mark.parametrize("clusters", [1, 257, -3])
def test_a_number_of_clusters_out_of_range_is_refused(clusters):
    with pytest.raises(ConfigError, match=rf"^`clusters` must be in \[2, 256\]. Received: clusters={clusters}$"):
        ClusterConfig(clusters=clusters)
    with pytest.raises(ConfigError, match=r"^`layers.a` must be in \[2, 256\]"):
        ClusterConfig(clusters=4, layers={"a": clusters})


def test_an_unknown_start_is_refused():
    with pytest.raises(ConfigError, match=r"^`centroids` must be one of kmeans\+\+, linear, density"):
        ClusterConfig(clusters=4, centroids="random")
