"""What every stage owes, whichever it is: a stage passes by being listed here, and none may be missing."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from components.clustering.config import ClusterConfig
from components.clustering.core import cluster
from components.common.errors import ModelError
from components.common.examples import scaled
from components.common.legacy_keras import keras
from components.common.tflite import TFLiteModel
from components.gates.measurement import structure
from components.pruning.config import PruneConfig
from components.pruning.core import prune
from components.quantization.core import convert
from pipeline.config import STAGES

TUNED = {"epochs": 2, "learning_rate": 0.01}


def _int8(model, public):
    return convert(model, "int8", scaled(public.images))


@dataclass(frozen=True, kw_only=True)
class Case:
    """One stage at one setting. apply: from a model and the public split to a model, or to the `.tflite`; kept: whether
    what `structure` reads in the file that ships is what the stage promised."""

    stage: str
    apply: Callable
    kept: Callable[[dict], bool]


def _prune(**settings):
    config = PruneConfig(sparsity=0.7, **settings)
    return lambda model, public: prune(model, config, public if config.epochs else None)[0]


def _cluster(**settings):
    config = ClusterConfig(clusters=6, **settings)
    return lambda model, public: cluster(model, config, public if config.epochs else None)[0]


def _sparse(found: dict) -> bool:
    return found["sparsity"] >= 0.69


def _few(found: dict) -> bool:
    return 2 <= found["clusters"] <= 6


CASES = {
    "prune": Case(stage="prune", apply=_prune(), kept=_sparse),
    "prune, fine-tuned": Case(stage="prune", apply=_prune(**TUNED), kept=_sparse),
    "cluster": Case(stage="cluster", apply=_cluster(), kept=_few),
    "cluster, fine-tuned": Case(stage="cluster", apply=_cluster(**TUNED), kept=_few),
    "quantize": Case(stage="quantize", apply=_int8, kept=lambda found: found["int8"]),
}
FLOAT = {name: case for name, case in CASES.items() if case.stage != "quantize"}


def test_every_stage_is_listed():
    assert {case.stage for case in CASES.values()} == set(STAGES)
    nodes = list(Path(__file__).parents[2].glob("components/*/component.py"))
    take_a_model = {node.parent.name for node in nodes if "    model: InputArtifact" in node.read_text()}
    assert len(STAGES) == len(take_a_model) == 3, take_a_model


@pytest.fixture(scope="module")
def model(make_model):
    return make_model()


@pytest.fixture(scope="module")
def shipped(model, public):
    """What each case makes of one model, the file that ships of each, and the weights before and after."""
    before = [w.copy() for w in model.get_weights()]
    made = {name: case.apply(model, public) for name, case in CASES.items()}
    files = {name: found if isinstance(found, bytes) else _int8(found, public) for name, found in made.items()}
    return made, files, before, model.get_weights()


@pytest.fixture(scope="module")
def untouched(model):
    """What the model's weights are before any stage."""
    return structure(TFLiteModel(convert(model, "float32")))


def test_the_input_model_is_unchanged(shipped):
    _, _, before, after = shipped
    for now, then in zip(after, before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("name", CASES)
def test_the_scores_of_the_file_that_ships_are_finite_and_tell_images_apart(shipped, public, name):
    scores = TFLiteModel(shipped[1][name]).scores(scaled(public.images))
    assert scores.shape == (90, 3) and np.all(np.isfinite(scores))
    assert len(np.unique(scores, axis=0)) > 3


@pytest.mark.parametrize("name", CASES)
def test_the_promise_is_kept_in_the_file_that_ships(shipped, untouched, name):
    assert CASES[name].kept(structure(TFLiteModel(shipped[1][name])))
    assert not CASES[name].kept(untouched)  # so the line above can fail


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_weights_that_are_not_finite_are_refused(make_model, public, name, bad):
    broken = make_model()
    weights = broken.get_weights()
    weights[0][0, 0, 0, 0] = bad
    broken.set_weights(weights)
    with pytest.raises(ModelError, match="^model tiny must have finite weights. Received: NaN or infinity$"):
        CASES[name].apply(broken, public)


@pytest.mark.parametrize("name", FLOAT)
def test_a_model_with_no_layer_to_compress_is_refused(public, name):
    layers = keras.layers
    bare = keras.Sequential([layers.Input((12, 12, 1)), layers.DepthwiseConv2D(3), layers.Flatten()], name="bare")
    with pytest.raises(ModelError, match="^model bare must have a Conv2D or Dense layer to compress. Received: none$"):
        CASES[name].apply(bare, public)


@pytest.mark.parametrize("name", FLOAT)
def test_a_stage_returns_a_plain_model_of_the_same_layers(shipped, model, name):
    made = shipped[0][name]
    assert [type(layer) for layer in made.layers] == [type(layer) for layer in model.layers]
    assert [w.shape for w in made.get_weights()] == [w.shape for w in model.get_weights()]
