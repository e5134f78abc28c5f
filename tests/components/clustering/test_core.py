"""Weight clustering: few values a kernel or a channel, and zeros that stay."""

import numpy as np
import pytest

from components.clustering.config import ClusterConfig
from components.clustering.core import cluster
from components.common.compressed import Compressed, by_channel
from components.common.errors import ConfigError, ModelError
from components.common.kernels import kernels
from components.common.legacy_keras import keras
from components.common.public_training import fit_public
from components.common.tuning import PublicTuning
from components.dp_training.synthetic import random_images
from components.pruning.config import PruneConfig
from components.pruning.core import prune

STARTS = ["kmeans++", "linear", "density"]
IMAGES = random_images(500, (12, 12, 1), seed=1)


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


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("clusters", [2, 5, 8])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("was_pruned", [False, True])
def test_compensated_kernels_keep_the_same_promises(parent, pruned, start, clusters, per_channel, was_pruned):
    made = pruned if was_pruned else parent
    config = ClusterConfig(clusters=clusters, centroids=start, per_channel=per_channel, compensate="public")
    clustered = cluster(made, config, None, IMAGES)
    for name, kernel in kernels(clustered.model).items():
        after, before = kernel.variable.numpy(), values(made)[name]
        rows = by_channel(after, kernel.channel_axis) if per_channel else after.reshape(1, -1)
        assert 1 <= max(len(np.unique(row)) for row in rows) <= clusters == clustered.promises[name].clusters
        assert not was_pruned or np.all(after[before == 0] == 0)
        assert clustered.promises[name].sparsity == np.mean(after == 0) and np.any(after != 0)


def test_linear_centroids_of_a_compensated_kernel_are_even_about_zero(parent):
    clustered = cluster(parent, ClusterConfig(clusters=5, centroids="linear", compensate="public"), None, IMAGES)
    for name, before in values(parent).items():
        levels = np.abs(before).max() * np.linspace(-1, 1, 5)
        assert np.all(np.isin(values(clustered)[name].round(5), levels.round(5).astype(np.float32)))


def test_an_even_number_of_linear_centroids_spares_one_for_zero_only_where_zeros_are_promised(parent, pruned):
    config = ClusterConfig(clusters=4, centroids="linear", compensate="public")
    dense, sparse = (values(cluster(made, config, None, IMAGES))["dense"] for made in (parent, pruned))
    assert len(np.unique(dense)) == 4 and len(np.unique(sparse[sparse != 0])) == 2


def test_linear_centroids_of_each_channel_reach_as_far_as_its_own_weights(parent):
    config = ClusterConfig(clusters=5, centroids="linear", per_channel=True, compensate="public")
    clustered = cluster(parent, config, None, IMAGES)
    for before, after in zip(values(parent)["dense"].T, values(clustered)["dense"].T, strict=True):
        levels = np.abs(before).max() * np.linspace(-1, 1, 5)
        assert np.abs(after[:, None] - levels).min(1).max() < 1e-6


@pytest.mark.parametrize("compensate", ["random", "public"])
def test_a_compensated_model_scores_closer_to_what_it_was(parent, compensate):
    expected = parent.model(IMAGES).numpy()

    def error(settings: dict) -> float:
        clustered = cluster(parent, ClusterConfig(clusters=4, **settings), None, IMAGES)
        return float(np.mean((clustered.model(IMAGES).numpy() - expected) ** 2))

    assert error({"compensate": compensate}) < 0.7 * error({})


def test_fine_tuning_after_compensation_holds_the_zeros_and_moves_the_values(parent, tune):
    config = ClusterConfig(clusters=5, centroids="linear", compensate="public")
    once, tuned = (cluster(parent, config, how, IMAGES) for how in (None, tune))
    for name, before in values(once).items():
        after = values(tuned)[name]
        np.testing.assert_array_equal(after == 0, before == 0)
        assert len(np.unique(after)) <= 5 and not np.array_equal(after, before)


def test_a_kernel_that_cannot_be_compensated_is_clustered_all_the_same():
    layers = keras.layers
    made = keras.Sequential([layers.Input((12, 12, 1)), layers.Conv2DTranspose(4, 3, name="up"), layers.Flatten()])
    clustered = cluster(Compressed(model=made), ClusterConfig(clusters=4, compensate="public"), None, IMAGES)
    assert len(np.unique(made.get_layer("up").kernel)) > 4 >= len(np.unique(values(clustered)["up"]))
    assert clustered.skipped["cluster"]["up"].startswith("compressed without compensation: there is no rule")
    assert clustered.promises["up"].sparsity is None


def test_public_compensation_without_public_images_is_refused(parent):
    with pytest.raises(ModelError, match="^public inputs must be there"):
        cluster(parent, ClusterConfig(clusters=4, compensate="public"), None)
