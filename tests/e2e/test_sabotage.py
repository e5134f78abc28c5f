"""Twenty kinds of sabotage through the whole pipeline (tiny preset, one recipe): nothing of it is pushed.

All run on one root, on which an honest run has finished: what comes before the sabotage is taken from the cache. Three
kinds run always, all of them with `pytest -m sabotage`.
"""

import itertools
import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from components.common.content import sizes
from components.common.errors import LockgateError
from pipeline.config import load
from pipeline.run import Watcher, execute
from tests.e2e.conftest import kept

GATES = {"max_drop": 0.05, "slice_max_drop": 0.3, "max_margin_factor": 1.5, "max_flips": 0.1, "planned_decisions": 1000}
counter = itertools.count(100)


def settings(**gates) -> list[str]:
    """The tiny preset with one recipe, which is made anew for every run, and gates that a faithful variant passes."""
    made = f'[{{stage="quantize", mode="int8", calibration_examples={next(counter)}}}]'
    return ["recipes.int8=" + made, *(f"gates.{k}={v}" for k, v in {**GATES, **gates}.items())]


class Saboteur(Watcher):
    """Does something before a node runs. act: called with the root."""

    def __init__(self, root: Path, node: str, act):
        self._root, self._node, self._act, self.acted = root, node, act, False

    def node_started(self, node: str, position: int, total: int) -> None:
        if node == self._node:
            self._act(self._root)
            self.acted = True


def newest(root: Path, node: str, output: str) -> Path:
    """The folder of the newest artifact of a node."""
    return max((root / "artifacts" / node / output).iterdir(), key=lambda p: int(p.name))


def one_recipe(sets: list[str]):
    config = load("tiny", sets)
    import dataclasses

    return dataclasses.replace(config, recipes=tuple(r for r in config.recipes if r.name == "int8"))


@pytest.fixture(scope="module")
def honest(tmp_path_factory) -> Path:
    """A root with an honest push."""
    root = tmp_path_factory.mktemp("sabotage")
    record = execute(one_recipe(settings()), root, Watcher())
    assert record["state"] == "pushed", record["error"] or [v["reasons"] for v in record["variants"]]
    return root


def parent_of(root: Path):
    from components.common.models import load_model

    return load_model(str(newest(root, "DPTrainer", "model")))


def calibration(root: Path) -> np.ndarray:
    from components.common.examples import read_split, scaled

    return scaled(read_split(str(newest(root, "ImportExampleGen", "examples")), "public", (28, 28, 1), 200).images)


def replace_file(root: Path, content: bytes) -> None:
    """The variant's file is another one, and what is said of it fits."""
    folder = newest(root, "Quantizer-int8", "variant")
    said = json.loads((folder / "variant.json").read_text())
    (folder / "model.tflite").write_bytes(content)
    (folder / "variant.json").write_text(json.dumps({**said, **sizes(content), "layers": [], "agreement": 1.0}))


def remade(change, mode: str = "int8"):
    """Another model in the variant's place: `change` works on the parent."""

    def act(root: Path) -> None:
        from components.quantization.core import convert

        model = change(parent_of(root))
        replace_file(root, convert(model, mode, calibration(root) if mode == "int8" else None))

    return act


def last_layer(change):
    def changed(model):
        layer = [x for x in model.layers if x.weights][-1]
        layer.set_weights(change(*layer.get_weights()))
        return model

    return changed


def dropped_class(kernel, bias):
    return [kernel, bias - 1000.0 * (np.arange(10) == 1)]


def permuted(kernel, bias):
    order = [1, 0, *range(2, 10)]
    return [kernel[:, order], bias[order]]


def random_weights(model):
    random = np.random.default_rng(2)
    model.set_weights([random.normal(size=w.shape).astype(np.float32) for w in model.get_weights()])
    return model


def not_finite(root: Path) -> None:
    import tensorflow as tf

    model = last_layer(lambda kernel, bias: [kernel, bias * np.nan])(parent_of(root))
    replace_file(root, tf.lite.TFLiteConverter.from_keras_model(model).convert())  # ours refuses such weights


def custom_operator(root: Path) -> None:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([1, 28, 28, 1], tf.float32)])
    def odd(images):
        return tf.math.igamma(tf.reshape(images, [1, -1])[:, :10], tf.ones([1, 10]))

    converter = tf.lite.TFLiteConverter.from_concrete_functions([odd.get_concrete_function()])
    converter.allow_custom_ops = True
    replace_file(root, converter.convert())


def swapped(place: str):
    """Another file after it was judged, nothing said of it."""

    def act(root: Path) -> None:
        parent = newest(root, "DPTrainer", "model") / "model.tflite"
        node, output = ("Selector", "selection") if place == "selection" else ("Quantizer-int8", "variant")
        shutil.copyfile(parent, newest(root, node, output) / "model.tflite")

    return act


def holdout(change):
    """Other records in the holdout split, until the run is over."""

    def act(root: Path) -> None:
        import tensorflow as tf

        (file,) = (newest(root, "ImportExampleGen", "examples") / "Split-holdout").iterdir()
        records = list(tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator())
        with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
            for record in change(records):
                writer.write(record)

    return act


def forged_verdict(root: Path) -> None:
    folder = newest(root, "CompressionGate-int8", "verdict")
    said = json.loads((folder / "verdict.json").read_text())
    (folder / "verdict.json").write_text(json.dumps({**said, "verdict": "pass"}))


def copied_verdict(root: Path) -> None:
    folder = newest(root, "CompressionGate-int8", "verdict")
    earlier = min((p for p in folder.parent.iterdir() if (p / "verdict.json").exists()), key=lambda p: int(p.name))
    shutil.copyfile(earlier / "verdict.json", folder / "verdict.json")


def cut_lineage(root: Path) -> None:
    artifact = newest(root, "Quantizer-int8", "variant").name
    with sqlite3.connect(root / "metadata.sqlite") as connection:
        connection.execute("DELETE FROM Event WHERE execution_id = ?", (artifact,))


def lost(node: str, output: str, pattern: str):
    def act(root: Path) -> None:
        for file in newest(root, node, output).glob(pattern):
            file.unlink()

    return act


def other_statement(root: Path) -> None:
    folder = newest(root, "Quantizer-int8", "variant")
    said = json.loads((folder / "statement.json").read_text())
    (folder / "statement.json").write_text(json.dumps({**said, "epsilon": 99.0}))


SWAPPED_BEFORE = "Prober"
KINDS = {
    "one class dropped": (SWAPPED_BEFORE, remade(last_layer(dropped_class))),
    "two classes permuted": (SWAPPED_BEFORE, remade(last_layer(permuted))),
    "swapped before the Selector": ("Selector", swapped("variant")),
    "swapped before the Pusher": ("Pusher", swapped("selection")),
    "answers that are no numbers": (
        SWAPPED_BEFORE,
        not_finite,
    ),
    "constant answers": (SWAPPED_BEFORE, remade(last_layer(lambda kernel, bias: [0 * kernel, bias]))),
    "scales off by two": (SWAPPED_BEFORE, remade(last_layer(lambda kernel, bias: [2 * kernel, 2 * bias]))),
    "a custom operator": (SWAPPED_BEFORE, custom_operator),
    "no model at all": (SWAPPED_BEFORE, lambda root: replace_file(root, b"TFL3, it says")),
    "right on validation, wrong on holdout": (SWAPPED_BEFORE, remade(random_weights)),
    "floats where int8 was promised": (SWAPPED_BEFORE, remade(lambda model: model, "float32")),
    "an empty holdout": ("HoldoutScorer", holdout(lambda records: [])),
    "duplicated holdout examples": ("HoldoutScorer", holdout(lambda records: records[:50] * 40)),
    "a forged verdict": ("Selector", forged_verdict),
    "a verdict copied from another run": ("Selector", copied_verdict),
    "lineage cut": ("Lineage", cut_lineage),
    "a metric missing": ("CompressionGate-int8", lost("Evaluator", "evaluation", "metrics*")),
    "a table that lost its rows": ("CompressionGate-int8", lost("HoldoutScorer", "scores", "table/*")),
    "a statement that is missing": ("CompressionGate-int8", lost("Quantizer-int8", "variant", "statement.json")),
    "a statement over the budget": ("CompressionGate-int8", other_statement),
}
ALWAYS = ("one class dropped", "swapped before the Pusher", "lineage cut")
SPOILED = ("Evaluator", "ImportExampleGen")  # whose artifacts, taken from the cache, are put back after a run


@pytest.fixture
def put_back(honest):
    folders = [newest(honest, "Evaluator", "evaluation"), newest(honest, "ImportExampleGen", "examples")]
    copies = [honest / f"copy-{i}" for i in range(len(folders))]
    for folder, copy in zip(folders, copies, strict=True):
        shutil.copytree(folder, copy)
    yield
    for folder, copy in zip(folders, copies, strict=True):
        shutil.rmtree(folder), copy.rename(folder)


def refused(root: Path, node: str, act, **gates) -> None:
    before, saboteur = kept(root), Saboteur(root, node, act)
    record = execute(one_recipe(settings(**gates)), root, saboteur)
    assert saboteur.acted, record["error"]
    assert record["pushed"] is None and record["exit_code"] in (2, 3), (record["state"], record["error"])
    assert record["error"] or any(v["reasons"] for v in record["variants"])
    assert kept(root).serving == before.serving


def strict(kind: str) -> dict:
    """A forged or copied verdict is of a variant that fails."""
    return {"min_accuracy": 0.999} if "verdict" in kind else {}


@pytest.mark.parametrize("kind", ALWAYS)
def test_sabotage_is_not_pushed(honest, put_back, kind):
    refused(honest, *KINDS[kind], **strict(kind))


@pytest.mark.sabotage
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ALWAYS])
def test_no_other_sabotage_is_pushed(honest, put_back, kind):
    refused(honest, *KINDS[kind], **strict(kind))


def test_a_threshold_that_is_no_number_is_refused_before_anything_runs(honest):
    before = kept(honest)
    for name in ("max_drop", "alpha", "slice_max_drop", "max_regression"):
        with pytest.raises(LockgateError, match=f"gates.{name}"):
            one_recipe(settings(**{name: "nan"}))
    assert kept(honest) == before and len(KINDS) == 20
