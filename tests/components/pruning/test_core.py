"""Magnitude pruning: which weights go, in which pattern, and that they stay away."""

import numpy as np
import pytest

from components.clustering.config import ClusterConfig
from components.clustering.core import cluster
from components.common.compressed import Compressed
from components.common.errors import ConfigError, ModelError
from components.common.kernels import kernels
from components.common.legacy_keras import keras
from components.common.public_training import fit_public
from components.common.tuning import PublicTuning
from components.dp_training.synthetic import random_images
from components.pruning.config import PruneConfig
from components.pruning.core import Zeros, prune

L = keras.layers
IMAGES = random_images(500, (12, 12, 1), seed=1)


@pytest.fixture(scope="module")
def parent(make_model):
    return Compressed(model=make_model())


def values(made: Compressed) -> dict[str, np.ndarray]:
    return {name: kernel.variable.numpy() for name, kernel in kernels(made.model).items()}


@pytest.mark.parametrize("sparsity", [0.25, 0.5, 0.9])
def test_exactly_the_smallest_weights_become_zero_and_the_others_stay(parent, sparsity):
    pruned = prune(parent, PruneConfig(sparsity=sparsity), None)
    for name, before in values(parent).items():
        after = values(pruned)[name]
        gone = after == 0
        assert abs(gone.mean() - sparsity) <= 1 / before.size
        assert pruned.promises[name].sparsity == pytest.approx(gone.mean())
        np.testing.assert_array_equal(after[~gone], before[~gone])
        assert np.abs(before[gone]).max() <= np.abs(before[~gone]).min()


def test_layers_may_have_rates_of_their_own_down_to_none(parent):
    pruned = prune(parent, PruneConfig(sparsity=0.5, layers={"dense": 0.8, "logits": 0.0}), None)
    found = {name: round(np.mean(v == 0), 1) for name, v in values(pruned).items()}
    assert found == {"conv": 0.5, "dense": 0.8, "logits": 0.0}
    assert set(pruned.promises) == {"conv", "dense"}
    assert pruned.skipped["prune"]["logits"].startswith("nothing of it was to be pruned")


def test_a_layer_that_does_not_exist_is_refused(parent):
    with pytest.raises(ModelError, match="must name layers of conv, dense, logits. Received: dens$"):
        prune(parent, PruneConfig(sparsity=0.5, layers={"dens": 0.8}), None)


def test_biases_stay(parent):
    pruned = prune(parent, PruneConfig(sparsity=0.5), None)
    np.testing.assert_array_equal(pruned.model.get_layer("dense").bias, parent.model.get_layer("dense").bias)


@pytest.mark.parametrize("schedule", ["constant", "polynomial"])
def test_fine_tuning_ends_at_the_promised_zeros_and_moves_the_others(parent, public, schedule):
    tuning = PublicTuning(epochs=3, learning_rate=0.02)
    config = PruneConfig(sparsity=0.6, schedule=schedule)
    tuned = prune(parent, config, lambda model, held: fit_public(model, public, tuning, held))
    for name, before in values(parent).items():
        after = values(tuned)[name]
        assert tuned.promises[name].sparsity == np.mean(after == 0) and abs(np.mean(after == 0) - 0.6) < 1 / after.size
        assert np.mean(after[after != 0] != before[after != 0]) > 0.5


def test_zeros_come_along_the_cubic_and_stay_where_they_are_after_the_ramp(parent):
    kernel = kernels(parent.model)["dense"]
    mask = Zeros(kernel, 0.8, PruneConfig(sparsity=0.8, ramp=0.5))
    found = []
    for progress in (0.0, 0.25, 0.5):
        mask.update(kernel.variable.numpy(), progress)
        found.append(mask.sparsity)
    np.testing.assert_allclose(found, [0.0, 0.8 * (1 - 0.5**3), 0.8], atol=0.01)
    before = mask(kernel.variable).numpy()
    mask.update(-np.sort(-np.abs(kernel.variable.numpy()).ravel()).reshape(before.shape), 0.7)
    np.testing.assert_array_equal(mask(kernel.variable).numpy(), before)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (L.Dense(6), (16,)),
        (L.Conv2D(6, 3), (8, 8, 8)),
        (L.Conv1D(6, 3), (8, 8)),
        (L.Conv2DTranspose(6, 3), (8, 8, 8)),
    ],
    ids=["dense", "conv2d", "conv1d", "transpose"],
)
def test_two_of_each_four_input_channels_are_zero(layer, shape):
    model = keras.Sequential([L.Input(shape), layer])
    pruned = prune(Compressed(model=model), PruneConfig(sparsity=0.5, pattern="2:4"), None)
    (kernel,) = kernels(pruned.model).values()
    inputs_last = kernel.variable.numpy() if kernel.transposed else np.moveaxis(kernel.variable.numpy(), -2, -1)
    groups = inputs_last.reshape(-1, 4)
    np.testing.assert_array_equal((groups == 0).sum(axis=1), 2)
    whole = np.moveaxis(model.layers[0].kernel.numpy(), -1 if kernel.transposed else -2, -1).reshape(-1, 4)
    np.testing.assert_array_equal(groups == 0, np.argsort(np.argsort(np.abs(whole), axis=1), axis=1) < 2)


def test_too_few_channels_for_two_of_four_are_said_and_nothing_is_promised(parent):
    pruned = prune(parent, PruneConfig(sparsity=0.5, pattern="2:4"), None)
    assert "conv" not in pruned.promises and "too few input channels" in pruned.skipped["prune"]["conv"]


@pytest.mark.parametrize(("layer", "shape"), [(L.Dense(8), (16,)), (L.Conv2D(8, 2), (8, 8, 4))], ids=["dense", "conv"])
def test_blocks_of_inputs_and_outputs_are_zero_together(layer, shape):
    model = keras.Sequential([L.Input(shape), layer])
    pruned = prune(Compressed(model=model), PruneConfig(sparsity=0.75, block=(4, 2)), None)
    (kernel,) = values(pruned).values()
    blocks = kernel.reshape(-1, 4, kernel.shape[-1] // 2, 2).transpose(0, 2, 1, 3).reshape(-1, 8)
    zeros = (blocks == 0).sum(axis=1)
    assert set(zeros) == {0, 8} and np.mean(zeros == 8) == 0.75


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 16), (16, 1), (3, 1), (10, 5)])
def test_blocks_fit_kernels_of_any_size(inputs, outputs):
    """TFMOT's pooling fails on a kernel that is one block high or wide."""
    model = keras.Sequential([L.Input((inputs,)), L.Dense(outputs)])
    (kernel,) = values(prune(Compressed(model=model), PruneConfig(sparsity=0.5, block=(4, 2)), None)).values()
    places = [np.s_[r : r + 4, c : c + 2] for r in range(0, inputs, 4) for c in range(0, outputs, 2)]
    means = np.array([np.mean(np.abs(model.layers[0].kernel.numpy()[place])) for place in places])
    zeros = np.array([np.mean(kernel[place] == 0) for place in places])
    assert set(zeros) <= {0, 1} and np.sum(zeros == 0) == max(1, round(len(places) / 2))
    assert np.max(means[zeros == 1], initial=0) <= np.min(means[zeros == 0], initial=np.inf)


def test_a_clustered_model_is_refused(parent):
    clustered = cluster(parent, ClusterConfig(clusters=4), None)
    with pytest.raises(ModelError, match="^pruning must come before clustering, or whole centroids go"):
        prune(clustered, PruneConfig(sparsity=0.5), None)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"sparsity": -0.1}, r"^`sparsity` must be in \[0, 1\). Received: sparsity=-0.1$"),
        ({"sparsity": 1.0}, r"^`sparsity` must be in \[0, 1\). Received: sparsity=1.0$"),
        ({"sparsity": 0.5, "layers": {"a": 1.0}}, r"^`layers.a` must be in \[0, 1\)"),
        ({"sparsity": 0.5, "units": {"a": 1.0}}, r"^`units.a` must be in \[0, 1\)"),
        ({"sparsity": 0.5, "schedule": "linear"}, "^`schedule` must be one of constant, polynomial"),
        ({"sparsity": 0.5, "ramp": 0.0}, r"^`ramp` must be in \(0, 1\]"),
        ({"sparsity": 0.5, "block": (4,)}, "^`block` must be two numbers of at least 1"),
        ({"sparsity": 0.5, "pattern": "1:4"}, "^`pattern` must be one of unstructured, 2:4"),
        ({"sparsity": 0.6, "pattern": "2:4"}, "^`sparsity` must be 0.5 everywhere for 2:4"),
        ({"sparsity": 0.5, "pattern": "2:4", "block": (2, 2)}, r"^`block` must be \[1, 1\] for 2:4"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        PruneConfig(**settings)


@pytest.mark.parametrize(
    "settings",
    [{"sparsity": 0.6}, {"sparsity": 0.5, "block": (4, 1)}, {"sparsity": 0.5, "pattern": "2:4"}],
    ids=["unstructured", "blocks", "2:4"],
)
def test_a_compensated_kernel_has_the_zeros_of_the_pattern_and_scores_closer_to_what_it_was(parent, settings):
    def error(compensate: str) -> float:
        pruned = prune(parent, PruneConfig(**settings, compensate=compensate), None, IMAGES)
        assert {n: p.sparsity for n, p in pruned.promises.items()} == {
            n: pytest.approx(np.mean(v == 0)) for n, v in values(pruned).items() if np.any(v == 0)
        }
        assert pruned.promises["dense"].sparsity == pytest.approx(settings["sparsity"], abs=0.02)
        kernel = values(pruned)["dense"] != 0
        if "block" in settings:
            assert set(kernel.reshape(-1, 4, 8).sum(1).ravel()) <= {0, 4}
        if "pattern" in settings:
            assert np.all(kernel.reshape(-1, 4, 8).sum(1) <= 2)
        return float(np.mean((pruned.model(IMAGES).numpy() - parent.model(IMAGES).numpy()) ** 2))

    assert error("public") < 0.5 * error("nothing") and error("random") < 0.5 * error("nothing")


def test_fine_tuning_after_compensation_keeps_its_zeros_and_moves_the_others(parent, public):
    config = PruneConfig(sparsity=0.6, compensate="public")
    tuning = PublicTuning(epochs=2, learning_rate=0.02)
    once, tuned = (
        prune(parent, config, tune, IMAGES)
        for tune in (None, lambda model, held: fit_public(model, public, tuning, held))
    )
    for name, before in values(once).items():
        after = values(tuned)[name]
        np.testing.assert_array_equal(after == 0, before == 0)
        assert np.mean(after[after != 0] != before[after != 0]) > 0.5


def test_layers_that_are_not_pruned_are_not_moved(parent):
    pruned = prune(parent, PruneConfig(sparsity=0.6, layers={"dense": 0.0}, compensate="public"), None, IMAGES)
    np.testing.assert_array_equal(values(pruned)["dense"], values(parent)["dense"])
    assert np.any(values(pruned)["conv"][values(pruned)["conv"] != 0] != 0)
