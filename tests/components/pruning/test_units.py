"""Channels removed whole: which go, and that nothing else changes."""

import numpy as np
import pytest

from components.common.compressed import Compressed
from components.common.errors import ModelError
from components.common.kernels import kernels
from components.common.legacy_keras import keras
from components.pruning.config import PruneConfig
from components.pruning.core import prune
from components.pruning.units import without_units

L = keras.layers
IMAGES = np.random.default_rng(0).normal(size=(5, 8, 8, 2)).astype(np.float32)


def chain(normalized: bool = False) -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = [L.Conv2D(6, 3, use_bias=False, name="conv"), *([L.BatchNormalization()] if normalized else [])]
    layers += [L.ReLU(), L.MaxPool2D(), L.Conv2D(8, 2, activation="relu", name="wide"), L.Flatten()]
    layers += [L.Dense(10, activation="relu", name="hidden"), L.Dense(3, name="logits")]
    return keras.Sequential([L.Input((8, 8, 2)), *layers])


def shapes(model: keras.Model) -> dict[str, tuple[int, ...]]:
    return {name: tuple(kernel.variable.shape) for name, kernel in kernels(model).items()}


def test_so_many_channels_go_and_what_reads_them_shrinks():
    found = shapes(without_units(chain(), {"conv": 0.5, "wide": 0.25, "hidden": 0.8}))
    assert found == {"conv": (3, 3, 2, 3), "wide": (2, 2, 3, 6), "hidden": (24, 2), "logits": (2, 3)}


@pytest.mark.parametrize(("name", "axis"), [("conv", -1), ("wide", -1), ("hidden", -1)])
@pytest.mark.parametrize("side", ["in", "out"])
def test_channels_without_weights_on_one_side_go_first_and_the_scores_stay(name, axis, side):
    model = chain()
    reader = {"conv": "wide", "wide": "hidden", "hidden": "logits"}[name]
    kernel, outgoing = model.get_layer(name).kernel, model.get_layer(reader).kernel
    dead = np.arange(kernel.shape[axis]) % 2 == 1
    if side == "in":
        kernel.assign(kernel * ~dead)
    else:
        places = outgoing.shape[-2] // len(dead)
        outgoing.assign(outgoing * np.tile(~dead, places)[:, None])
    np.testing.assert_allclose(without_units(model, {name: 0.5})(IMAGES), model(IMAGES), atol=1e-5)


def test_one_channel_stays_at_least():
    assert shapes(without_units(chain(), {"hidden": 0.99}))["hidden"][-1] == 1


def test_the_model_is_unchanged():
    model = chain()
    before = [w.copy() for w in model.get_weights()]
    without_units(model, {"conv": 0.5})
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_pruning_removes_units_before_it_counts_weights():
    made = prune(Compressed(model=chain()), PruneConfig(sparsity=0.5, units={"hidden": 0.8}), None)
    assert shapes(made.model)["hidden"] == (32, 2)
    assert made.promises["hidden"].sparsity == np.mean(kernels(made.model)["hidden"].variable.numpy() == 0) == 0.5


def branched() -> keras.Model:
    image = L.Input((8, 8, 2))
    x = L.Conv2D(4, 3, padding="same", name="conv")(image)
    return keras.Model(image, L.Dense(2, name="logits")(L.Flatten()(L.Add()([x, L.Conv2D(4, 1, name="skip")(x)]))))


@pytest.mark.parametrize(
    ("model", "name"),
    [(chain(), "nothing"), (chain(), "logits"), (branched(), "conv"), (branched(), "skip"), (chain(True), "conv")],
    ids=["unknown", "last", "two readers", "added", "normalized"],
)
def test_channels_that_are_not_read_by_one_layer_alone_are_refused(model, name):
    with pytest.raises(ModelError, match=f"^`units` must name layers that one .* alone reads. Received: {name}$"):
        without_units(model, {name: 0.5})


def test_a_model_that_keeps_promises_already_is_refused():
    pruned = prune(Compressed(model=chain()), PruneConfig(sparsity=0.5), None)
    with pytest.raises(ModelError, match="^units must go before weights do. Received: a compressed model$"):
        prune(pruned, PruneConfig(sparsity=0.5, units={"hidden": 0.5}), None)
