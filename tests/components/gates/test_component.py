"""CompressionGate: one variant measured on `holdout` against its parent, and the verdict it writes."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from components.common.compressed import Compressed
from components.common.content import sha256, sizes
from components.common.errors import GateError
from components.common.examples import scaled
from components.common.legacy_keras import keras
from components.common.models import load_model
from components.quantization.core import convert
from components.shipped.promises import kept
from components.shipped.reading import read
from tests.components.gates.conftest import EXAMPLES, GATES, reasons
from tests.components.settings import STATEMENT


def test_a_faithful_variant_passes_and_its_figures_add_up(made, gate):
    verdict, output = gate()
    assert reasons(verdict) == {} and verdict["verdict"] == "pass"
    assert verdict["sha256"] == sizes(made.int8)["sha256"] == output.get_string_custom_property("sha256")
    assert output.get_string_custom_property("verdict") == "pass"
    written = Path(output.uri, "verdict.json").read_bytes()
    assert output.get_string_custom_property("digest") == sha256(written)
    confusion = np.array(verdict["confusion"])
    assert confusion.sum() == EXAMPLES
    np.testing.assert_array_equal(confusion.sum(axis=1), np.bincount(made.labels, minlength=3))
    assert verdict["accuracy"] == pytest.approx(np.trace(confusion) / EXAMPLES)
    assert verdict["parent"]["accuracy"] == pytest.approx((EXAMPLES - 30) / EXAMPLES)
    assert verdict["drop"] == pytest.approx(verdict["parent"]["accuracy"] - verdict["accuracy"])
    assert verdict["holdout"]["decision"] == 1 and verdict["holdout"]["duplicates"] == 0
    assert verdict["served"] == {}


def test_a_variant_that_guesses_fails_on_accuracy(made, gate, public):
    parent = load_model(str(made.folder / "parent"))
    parent.set_weights([np.zeros_like(w) for w in parent.get_weights()])
    verdict, _ = gate(convert(parent, "int8", scaled(public.images)))
    assert verdict["verdict"] == "fail" and reasons(verdict)["accuracy"] == "fail"


def test_a_variant_whose_logits_are_off_by_a_factor_of_two_fails_by_its_margins(made, gate, public):
    doubled = load_model(str(made.folder / "parent"))
    logits = doubled.get_layer("logits")
    logits.set_weights([2 * w for w in logits.get_weights()])
    verdict, _ = gate(convert(doubled, "int8", scaled(public.images)))
    assert verdict["accuracy"] > 0.85 and reasons(verdict)["margins"] == "fail"


def test_a_variant_with_answers_that_are_no_numbers_fails(made, gate):
    parent = load_model(str(made.folder / "parent"))
    broken = keras.Sequential([*parent.layers, keras.layers.Lambda(lambda x: x / 0.0)])
    broken.build((None, 12, 12, 1))
    verdict, _ = gate(convert(broken, "float32"), facts={"mode": "float32"})
    assert {"accuracy", "margins", "servability"} <= set(reasons(verdict)) and verdict["verdict"] == "fail"


def test_a_file_that_does_not_load_fails_and_does_not_stop_the_scoring(gate):
    verdict, _ = gate(b"not even a model")
    assert {"accuracy", "structure", "servability"} <= set(reasons(verdict)) and verdict["verdict"] == "fail"
    assert verdict["latency"] is None and verdict["parent"]["accuracy"] > 0.9


def test_a_float_file_under_an_int8_promise_fails(made, gate):
    verdict, _ = gate((made.folder / "parent/model.tflite").read_bytes())
    assert reasons(verdict) == {"structure": "fail"} and verdict["verdict"] == "fail"


def test_a_promise_that_the_file_does_not_keep_fails_with_the_layer(made, gate):
    said = kept(Compressed(model=load_model(str(made.folder / "parent"))), read(made.int8))
    layers = [dataclasses.asdict(k) for k in said]
    assert reasons(gate(facts={"layers": layers})[0]) == {}
    layers[1].update(promised_sparsity=0.5, sparsity=0.5)  # what is said to be in the file is not believed
    verdict, _ = gate(facts={"layers": layers})
    assert reasons(verdict) == {"structure": "fail"}
    (check,) = [c for c in verdict["checks"] if c["gate"] == "structure"]
    assert "layer dense must hold 50.00 % zeros in the file" in check["sentence"]


@pytest.mark.parametrize(("blessed", "says"), [(0, "fail"), (None, "inconclusive")])
def test_a_parent_that_the_evaluator_did_not_bless_does_not_pass(gate, blessed, says):
    verdict, output = gate(blessed=blessed)
    assert reasons(verdict) == {"evaluator": says} and verdict["verdict"] == says
    assert output.get_string_custom_property("verdict") == says


def test_a_slice_that_the_evaluator_did_not_measure_fails_although_it_blessed(gate):
    verdict, _ = gate(evaluated=range(2))
    assert reasons(verdict) == {"evaluator": "fail"}
    assert "label 2" in next(c["sentence"] for c in verdict["checks"] if c["gate"] == "evaluator")


@pytest.mark.parametrize("changes", [{"epsilon": 3.01}, {"epsilon": math.inf}, {"delta": 1e-4}])
def test_a_variant_over_the_budget_does_not_pass(gate, changes):
    verdict, _ = gate(statement=dataclasses.replace(STATEMENT, **changes))
    assert reasons(verdict) == {"privacy": "fail"}


def test_a_variant_without_a_statement_is_refused(gate, tmp_path):
    with pytest.raises(GateError, match="^a model must come with a privacy statement"):
        gate(statement=None)
    assert not list(tmp_path.glob("*/verdict/verdict.json"))


def test_a_variant_worse_than_what_serves_fails_and_the_best_ever_has_a_say(made, gate, public):
    good = made.int8
    assert reasons(gate(served=good)[0]) == {}
    poor = load_model(str(made.folder / "parent"))
    poor.set_weights([np.zeros_like(w) for w in poor.get_weights()])
    bad = convert(poor, "int8", scaled(public.images))
    lenient = dataclasses.replace(GATES, max_drop=0.99, slice_max_drop=0.99, off=("flips", "calibration", "margins"))
    assert reasons(gate(bad, gates=lenient, served=bad)[0]) == {}
    verdict, _ = gate(bad, gates=lenient, served=bad, best=good)
    assert reasons(verdict) == {"regression": "fail"}
    assert set(verdict["served"].values()) == {sha256(bad), sha256(good)}


def test_the_same_example_twice_counts_once_and_an_empty_holdout_decides_nothing(made, gate, write_split):
    verdict, _ = gate(holdout=made.records * 3, write_split=write_split)
    assert verdict["holdout"]["examples"] == EXAMPLES and verdict["holdout"]["duplicates"] == 2 * EXAMPLES
    verdict, _ = gate(holdout=made.records[:60] * 6, write_split=write_split)
    assert reasons(verdict)["slices"] == "inconclusive" and verdict["holdout"]["examples"] == 60
    verdict, _ = gate(holdout=[], write_split=write_split)
    assert verdict["verdict"] != "pass" and reasons(verdict)["accuracy"] == "inconclusive"


def test_past_the_planned_decisions_a_holdout_proves_nothing(gate):
    for number in (1, 2, 3, 4):
        gates = dataclasses.replace(GATES, max_bytes=10_000_000 + number)
        verdict, _ = gate(gates=gates)
        assert verdict["holdout"]["decision"] == number
        assert reasons(verdict) == ({} if number < 4 else {"holdout": "inconclusive"})
    assert gate(gates=gates)[0]["holdout"]["decision"] == 4  # the same models and settings are the same decision


def test_a_file_that_its_recipe_did_not_make_is_refused(gate, tmp_path):
    with pytest.raises(GateError, match="must be the file that its recipe made"):
        gate(facts={"sha256": "0" * 64})
    assert not list(tmp_path.glob("*/verdict/verdict.json"))


def test_a_file_that_was_swapped_after_it_was_scored_is_refused(gate, tmp_path, made):
    def swap(inputs):
        other = (made.folder / "parent/model.tflite").read_bytes()
        Path(inputs["variant"].uri, "model.tflite").write_bytes(other)
        said = json.loads(Path(inputs["variant"].uri, "variant.json").read_text())
        Path(inputs["variant"].uri, "variant.json").write_text(json.dumps({**said, **sizes(other)}))

    with pytest.raises(GateError, match="was probed differs"):
        gate(between=swap)
    assert not list(tmp_path.glob("*/verdict/verdict.json"))


@pytest.mark.parametrize("lost", ["table", "column"])
def test_a_table_that_lost_something_is_refused(gate, lost, tmp_path):
    import pyarrow.parquet as pq

    def lose(inputs):
        for file in Path(inputs["scores"].uri, "table").iterdir():
            if lost == "column":
                pq.write_table(pq.read_table(file).drop(["class:variant:int8"]), file)
            else:
                file.unlink()

    with pytest.raises(GateError, match="^the table of answers on holdout must be whole"):
        gate(between=lose)
    assert not list(tmp_path.glob("*/verdict/verdict.json"))
