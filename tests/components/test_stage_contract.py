"""What every stage owes, on every model: a case passes by being listed here, and no stage may be missing."""

import dataclasses
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.clustering.config import ClusterConfig
from components.clustering.core import cluster
from components.common.compressed import Compressed, load_compressed
from components.common.errors import ModelError
from components.common.kernels import kernels
from components.common.legacy_keras import keras
from components.common.public_training import fit
from components.common.tflite import TFLiteModel
from components.common.tuning import PublicTuning
from components.pruning.config import PruneConfig
from components.pruning.core import prune
from components.quantization.config import CALIBRATED, QuantizeConfig
from components.quantization.core import quantize
from components.shipped.agreement import agreement
from components.shipped.description import broken_promises, described
from pipeline.config import STAGES
from tests.components.zoo import ZOO, groups, make, parameters, public_inputs

ROOT = Path(__file__).parents[2]
TUNED = PublicTuning(epochs=1, learning_rate=0.001, distillation=0.5)
INT8 = QuantizeConfig()


@dataclass(frozen=True)
class Case:
    """A recipe that ends in a file. stages: configs in turn, the last one of quantization."""

    stages: tuple


PRUNE, CLUSTER = PruneConfig(sparsity=0.6), ClusterConfig(clusters=6)
CASES = {
    "prune": Case((PRUNE, INT8)),
    "prune, fine-tuned": Case((PruneConfig(sparsity=0.6, public=TUNED), INT8)),
    "prune 2:4": Case((PruneConfig(sparsity=0.5, pattern="2:4"), INT8)),
    "prune, compensated": Case((PruneConfig(sparsity=0.6, compensate="random"), INT8)),
    "prune blocks": Case((PruneConfig(sparsity=0.5, block=(4, 1)), INT8)),
    "cluster": Case((CLUSTER, INT8)),
    "cluster, fine-tuned": Case((ClusterConfig(clusters=6, public=TUNED), INT8)),
    "cluster, compensated": Case((ClusterConfig(clusters=6, compensate="random"), INT8)),
    "cluster by channel": Case((ClusterConfig(clusters=6, per_channel=True, centroids="linear"), INT8)),
    "float32": Case((QuantizeConfig(mode="float32"),)),
    "float16": Case((CLUSTER, QuantizeConfig(mode="float16"))),
    "dynamic": Case((CLUSTER, QuantizeConfig(mode="dynamic", public=TUNED))),
    "int8": Case((INT8,)),
    "int16x8": Case((PRUNE, QuantizeConfig(mode="int16x8"))),
    "trained for int8": Case((QuantizeConfig(public=TUNED),)),
    "all of it": Case((PRUNE, ClusterConfig(clusters=6, public=TUNED), QuantizeConfig(public=TUNED))),
    "in one scale": Case((PRUNE, CLUSTER, QuantizeConfig(per_channel=False, public=TUNED))),
}
STAGE_OF = {PruneConfig: "prune", ClusterConfig: "cluster", QuantizeConfig: "quantize"}


def test_every_stage_is_listed():
    assert {STAGE_OF[type(stage)] for case in CASES.values() for stage in case.stages} == set(STAGES)
    nodes = list(Path(__file__).parents[2].glob("components/*/component.py"))
    change_a_model = {n.parent.name for n in nodes if "tuning_of(" in n.read_text()}
    assert len(STAGES) == len(change_a_model) == 3, change_a_model


def cases_for(name: str) -> dict[str, Case]:
    """All cases of a model of the zoo: where it can lose units, that is one too."""
    unit = ZOO[name].units
    return {**CASES, "prune units": Case((PruneConfig(sparsity=0.6, units={unit: 0.5}), INT8))} if unit else CASES


def run(case: Case, model: keras.Model, inputs: list[np.ndarray]) -> tuple[Compressed, bytes]:
    """Runs a case; labels are what the model says. What is no image is not drawn by chance: it is public then."""
    scores = tf.nest.flatten(model(inputs, training=False))
    labels = tuple(np.argmax(s, axis=1) for s in scores)

    def tune(made, held):
        packed = tuple(inputs) if len(inputs) > 1 else inputs[0]
        fit(made, packed, labels if len(labels) > 1 else labels[0], TUNED, held)

    made, content = Compressed(model=model), b""
    for stage in case.stages:
        tuned = tune if stage.public else None
        if getattr(stage, "compensate", "") == "random" and any(array.ndim != 4 for array in inputs):
            stage = dataclasses.replace(stage, compensate="public")
        if isinstance(stage, PruneConfig):
            made = prune(made, stage, tuned, inputs)
        elif isinstance(stage, ClusterConfig):
            made = cluster(made, stage, tuned, inputs)
        else:
            made, content = quantize(made, stage, inputs if stage.mode in CALIBRATED else None, tuned)
    return made, content


@cache
def shipped(name: str) -> tuple:
    """A model of the zoo, its inputs, its weights before, and each case by name, with what it makes of the model."""
    keras.utils.set_random_seed(2)
    model = make(name)
    inputs = public_inputs(model, 64)
    before = [w.copy() for w in model.get_weights()]
    return (
        model,
        inputs,
        before,
        {case: (stages, *run(stages, model, inputs)) for case, stages in cases_for(name).items()},
    )


@pytest.mark.parametrize("name", parameters())
def test_the_file_keeps_every_promise_and_agrees_with_the_model_that_it_came_from(name):
    model, inputs, before, made = shipped(name)
    assert len(made) >= len(CASES)
    for case, (recipe, compressed, content) in made.items():
        mode = recipe.stages[-1].mode
        said = described(case, mode, compressed, content)
        assert [k["layer"] for k in said["layers"]] == list(kernels(model)), case
        assert broken_promises(said, content) == [], case
        found, entry = agreement(compressed.model, content, inputs), ZOO[name]
        assert found["mean_difference"] < entry.int8_error if entry.close else found["agreement"] > 0.85, (case, found)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("name", parameters())
def test_what_was_promised_is_what_was_asked_for(name):
    model, _, _, made = shipped(name)
    for recipe, compressed, _ in made.values():
        asked = {type(s): s for s in recipe.stages}
        for layer, promise in compressed.promises.items():
            size = kernels(compressed.model)[layer].variable.shape.num_elements()
            if PruneConfig in asked and asked[PruneConfig].block == (1, 1) and asked[PruneConfig].pattern != "2:4":
                assert abs(promise.sparsity - 0.6) <= 1 / size
            if ClusterConfig in asked:
                assert (promise.clusters, promise.per_channel) == (6, asked[ClusterConfig].per_channel)
        if PruneConfig in asked or ClusterConfig in asked:
            told = {layer for reasons in compressed.skipped.values() for layer in reasons}
            assert set(kernels(compressed.model)) <= set(compressed.promises) | told
        for layer, fraction in asked[PruneConfig].units.items() if PruneConfig in asked else ():
            assert (
                compressed.model.get_layer(layer).output_shape[-1] == fraction * model.get_layer(layer).output_shape[-1]
            )


@pytest.mark.parametrize("names", groups())
def test_a_fresh_process_reads_model_promises_and_file_and_scores_the_same(names, tmp_path):
    folders = {}
    for name in names:
        model, inputs, _, made = shipped(name)
        named = dict(zip(model.input_names, inputs, strict=True))
        for case, (_, compressed, content) in made.items():
            folders[name, case] = folder = tmp_path / f"{name}, {case}".replace(":", " of ")
            folder.mkdir()
            compressed.save(str(folder))
            (folder / "model.tflite").write_bytes(content)
            assert load_compressed(str(folder)).promises == compressed.promises
            scores = tf.nest.flatten(compressed.model(inputs, training=False))
            found = TFLiteModel(content).outputs(named)
            np.savez(folder / "inputs.npz", **named)
            np.savez(folder / "expected.npz", *scores, *(found[key] for key in model.output_names))
    subprocess.run([sys.executable, "-c", _RELOAD, str(tmp_path)], cwd=ROOT, check=True, timeout=600)
    for (name, case), folder in folders.items():
        with np.load(folder / "expected.npz") as expected, np.load(folder / "found.npz") as found:
            assert len(found.files) == len(expected.files) == 2 * len(shipped(name)[0].output_names)
            for key in expected.files:
                np.testing.assert_allclose(found[key], expected[key], atol=1e-4, err_msg=f"{name}, {case}")


_RELOAD = """
import sys
from pathlib import Path
import numpy as np
from components.common.compressed import load_compressed
from components.common.tflite import TFLiteModel
for folder in Path(sys.argv[1]).iterdir():
    with np.load(folder / "inputs.npz") as stored:
        inputs = dict(stored)
    model = load_compressed(str(folder)).model
    scores = model([inputs[name] for name in model.input_names], training=False)
    found = TFLiteModel((folder / "model.tflite").read_bytes()).outputs(inputs)
    scores = scores if isinstance(scores, list) else [scores]
    np.savez(folder / "found.npz", *scores, *(found[name] for name in model.output_names))
"""


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_weights_that_are_not_finite_are_refused(bad):
    model = make("sequential")
    weights = model.get_weights()
    weights[0][0, 0, 0, 0] = bad
    model.set_weights(weights)
    says = "^model sequential must have finite weights. Received: NaN or infinity in conv1$"
    for case in cases_for("sequential").values():
        with pytest.raises(ModelError, match=says):
            run(case, model, public_inputs(model, 16))


@pytest.mark.parametrize("case", CASES)
def test_a_layer_of_zeros_a_single_weight_and_an_unknown_layer_pass_through(case):
    layers = keras.layers
    keras.utils.set_random_seed(4)
    image = layers.Input((12, 12, 1), name="image")
    x = layers.Conv2D(1, 1, use_bias=False, name="single")(image)
    x = Tripled(name="unknown")(layers.Conv2D(8, 3, activation="relu", name="conv")(x))
    zero = layers.Conv2D(8, 3, kernel_initializer="zeros", name="zero")(x)
    x = layers.Add(name="add")([zero, layers.Conv2D(8, 3, name="other")(x)])
    model = keras.Model(image, layers.Dense(3, name="logits")(layers.Flatten(name="flat")(x)), name="odd")
    inputs = public_inputs(model, 32)
    made, content = run(CASES[case], model, inputs)
    said = described(case, CASES[case].stages[-1].mode, made, content)
    tuned = any(stage.public for stage in CASES[case].stages)
    assert tuned or {k["layer"]: k["sparsity"] for k in said["layers"]}["zero"] == 1.0
    for reasons in said["skipped"].values():
        assert reasons["single"].startswith("a single weight")
        assert reasons["unknown"] == "no rule for layers of type Tripled"
    assert np.all(np.isfinite(TFLiteModel(content).scores(inputs[0])))


@keras.utils.register_keras_serializable("tests")
class Tripled(keras.layers.Layer):
    """A layer with a weight that no stage knows."""

    def build(self, shape):
        self.factor = self.add_weight(name="factor", shape=(1,), initializer=keras.initializers.Constant(3.0))

    def call(self, x):
        return x * self.factor


def test_a_model_with_no_kernel_is_refused():
    layers = keras.layers
    bare = keras.Sequential([layers.Input((12, 12, 1)), layers.DepthwiseConv2D(3), layers.Flatten()], name="bare")
    for case in (c for c in CASES.values() if not isinstance(c.stages[0], QuantizeConfig)):
        with pytest.raises(ModelError, match="^model bare must have a convolution or Dense layer to compress"):
            run(case, bare, public_inputs(bare, 16))


def test_a_case_that_lied_would_be_found_out():
    _, _, _, made = shipped("sequential")
    _, compressed, content = made["prune"]
    lying = dataclasses.replace(
        compressed, promises={n: dataclasses.replace(p, sparsity=0.99) for n, p in compressed.promises.items()}
    )
    with pytest.raises(ModelError, match="^layer conv1 must hold 99.00 % zeros in the file"):
        described("prune", "int8", lying, content)
