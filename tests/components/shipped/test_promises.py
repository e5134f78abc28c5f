"""Promises read back from the file: kept ones, and each way in which one can be broken."""

import dataclasses

import numpy as np
import pytest

from components.clustering.config import ClusterConfig
from components.clustering.core import cluster
from components.common.compressed import Compressed, Promise
from components.common.errors import ModelError
from components.common.examples import scaled
from components.common.legacy_keras import keras
from components.pruning.config import PruneConfig
from components.pruning.core import prune
from components.quantization.core import convert
from components.shipped.description import broken_promises, described
from components.shipped.promises import kept, read_again, require_kept
from components.shipped.reading import read

L = keras.layers


@pytest.fixture(scope="module")
def made(make_model):
    pruned = prune(Compressed(model=make_model()), PruneConfig(sparsity=0.5), None)
    return cluster(pruned, ClusterConfig(clusters=6), None)


@pytest.fixture(scope="module")
def int8(made, public):
    return convert(made.model, "int8", scaled(public.images))


def test_every_kernel_is_found_and_every_promise_is_kept(made, int8):
    said = described("r", "int8", made, int8)
    assert [k["layer"] for k in said["layers"]] == ["conv", "dense", "logits"]
    assert len({k["tensor"] for k in said["layers"]}) == 3
    for k in said["layers"]:
        assert k["sparsity"] >= k["promised_sparsity"] == pytest.approx(0.5, abs=0.03)
        assert 2 <= k["clusters"] <= k["promised_clusters"] == 6
    assert broken_promises(said, int8) == []


@pytest.mark.parametrize(
    ("promise", "says"),
    [
        (Promise(sparsity=0.9), r"^layer dense must hold 90.00 % zeros in the file. Received: 5\d.\d\d %$"),
        (Promise(clusters=3), "^layer dense must hold at most 3 distinct values in the file. Received: 6$"),
        (
            Promise(clusters=2, per_channel=True),
            "^layer dense must hold at most 2 distinct values a channel in the file. Received: [3-6]$",
        ),
    ],
)
def test_a_broken_promise_is_one_line_with_the_layer(made, int8, promise, says):
    lying = dataclasses.replace(made, promises={**made.promises, "dense": promise})
    with pytest.raises(ModelError, match=says):
        described("r", "int8", lying, int8)
    assert "layer dense" in broken_promises({**described("r", "int8", made, int8), **_with(lying, int8)}, int8)[0]


def _with(made, file) -> dict:
    return {"layers": [dataclasses.asdict(k) for k in kept(made, read(file))]}


def test_a_promise_is_broken_by_a_single_weight(made, int8):
    found = kept(made, read(int8))[1]
    assert dataclasses.replace(found, promised_sparsity=found.sparsity).broken() is None
    assert dataclasses.replace(found, promised_sparsity=found.sparsity + 1e-4).broken()
    assert dataclasses.replace(found, promised_clusters=found.clusters).broken() is None
    assert dataclasses.replace(found, promised_clusters=found.clusters - 1).broken()


def test_a_file_of_another_model_is_found_out(made, make_model, public):
    other = convert(make_model(seed=8), "int8", scaled(public.images))
    with pytest.raises(ModelError, match="^layer conv must be in the file. No tensor of it holds weights like its"):
        kept(made, read(other))


@pytest.mark.parametrize("mode", ["float32", "dynamic"])
def test_a_file_in_floating_point_is_no_int8(made, mode):
    with pytest.raises(ModelError, match="^all (weights must be int8|operators must be integer) in the file"):
        described("r", "int8", made, convert(made.model, mode))


def test_without_integers_nothing_of_the_kind_is_promised(made):
    assert described("r", "float32", made, convert(made.model, "float32"))["integer_operators"] == 0


def test_layers_of_one_shape_are_told_apart_by_what_they_hold(public):
    layers = [L.Dense(6, use_bias=False, name=f"d{i}") for i in range(4)]
    model = keras.Sequential([L.Input((12, 12, 1)), L.AveragePooling2D(2), L.Flatten(), L.Dense(6, name="in"), *layers])
    layers[1].kernel.assign(layers[0].kernel * 1.02 + 0.03)  # nearly alike
    layers[2].kernel.assign(np.zeros((6, 6)))
    made = Compressed(model=model, promises={"d2": Promise(sparsity=1.0)})
    found = kept(made, read(convert(model, "int8", scaled(public.images))))
    require_kept(found)
    assert len({k.tensor for k in found}) == 5
    assert [k.layer for k in found if k.sparsity == 1] == ["d2"]


def test_a_tensor_that_is_gone_is_told(made, int8):
    before = kept(made, read(int8))
    with pytest.raises(ModelError, match="^layer conv must be at byte 999 of the file. Received: no weights there$"):
        read_again([dataclasses.replace(before[0], tensor=999)], read(int8))
