"""The Beam job: every example once, every model's own answer, on one worker or on two processes."""

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from components.common.errors import DataError
from components.common.examples import read_split, scaled
from components.common.tflite import TFLiteModel
from components.gates.scoring.job import score
from components.gates.scoring.table import read_table
from tests.components.settings import DATA

RUNNERS = {
    "in memory": ["--runner=FnApiRunner"],
    "two processes": ["--runner=FnApiRunner", "--direct_num_workers=2", "--direct_running_mode=multi_processing"],
}


@pytest.fixture
def scored(made, tmp_path):
    """Runs the job on the models; gives the table."""

    def run(models, runner="in memory", files=None, slices=()):
        files = files or [str(next((made.folder / "examples/Split-holdout").iterdir()))]
        with beam.Pipeline(options=PipelineOptions(RUNNERS[runner])) as pipeline:
            score(pipeline, files, models, slices, DATA.image_shape, 3, str(tmp_path / "table"))
        return read_table(str(tmp_path / "table"), tuple(models), slices, 3)

    return run


@pytest.fixture
def models(made, tmp_path) -> dict[str, str]:
    (tmp_path / "int8.tflite").write_bytes(made.int8)
    return {"parent": str(made.folder / "parent"), "variant:int8": str(tmp_path / "int8.tflite")}


@pytest.mark.parametrize("runner", RUNNERS)
def test_every_example_has_every_models_answer(made, models, scored, runner):
    table = scored(models, runner)
    holdout = read_split(str(made.folder / "examples"), "holdout", DATA.image_shape)
    expected = made.parent.predict(scaled(holdout.images), verbose=0)
    assert len(table.labels) == len(holdout.labels) and table.duplicates == 0
    for name, scores in (("parent", expected), ("variant:int8", TFLiteModel(made.int8).scores(scaled(holdout.images)))):
        found = sorted(map(tuple, np.column_stack([table.labels, table.scores[name]]).round(3)))
        assert found == pytest.approx(sorted(map(tuple, np.column_stack([holdout.labels, scores]).round(3))), abs=2e-3)
        np.testing.assert_array_equal(table.predictions[name], table.scores[name].argmax(1))


def test_a_model_that_is_not_there_or_does_not_load_answers_nothing_and_stops_no_other(models, scored, tmp_path):
    (tmp_path / "bad.tflite").write_bytes(b"no model")
    table = scored({**models, "a": None, "b": str(tmp_path / "bad.tflite"), "c": str(tmp_path / "nowhere")})
    for name in "abc":
        assert np.all(np.isnan(table.scores[name])) and np.all(table.predictions[name] == -1)
    assert np.mean(table.predictions["parent"] == table.labels) > 0.9


def test_a_model_of_other_classes_answers_nothing(models, scored, tmp_path, make_model):
    from components.common.legacy_keras import keras
    from components.quantization.core import convert

    other = keras.Sequential([*make_model().layers[:-1], keras.layers.Dense(7, name="seven")])
    other.build((None, 12, 12, 1))
    (tmp_path / "other.tflite").write_bytes(convert(other, "float32"))
    table = scored({**models, "serving": str(tmp_path / "other.tflite")})
    assert np.all(table.predictions["serving"] == -1)


def test_values_of_named_features_are_slices(made, models, scored, tmp_path, write_split):
    import tensorflow as tf

    records = []
    for i, record in enumerate(made.records[:30]):
        changed = tf.train.Example.FromString(record)
        if i % 3:
            changed.features.feature["light"].bytes_list.value.append(b"day" if i % 3 == 1 else b"night")
        changed.features.feature["year"].int64_list.value.append(2000 + i % 2)
        records.append(changed.SerializeToString())
    write_split(tmp_path / "e", "holdout", records)
    files = [str(next((tmp_path / "e/Split-holdout").iterdir()))]
    table = scored(models, files=files, slices=("light", "year", "never"))
    assert sorted(table.slices["light"]) == [""] * 10 + ["day"] * 10 + ["night"] * 10
    assert sorted(set(table.slices["year"])) == ["2000", "2001"] and set(table.slices["never"]) == {""}


def test_a_damaged_file_is_one_line(models, scored, tmp_path):
    (tmp_path / "damaged.gz").write_bytes(b"no records")
    with pytest.raises(Exception, match="must hold tf.train.Examples") as caught:
        scored(models, files=[str(tmp_path / "damaged.gz")])
    assert DataError.__name__ in repr(caught.value) or DataError.__name__ in str(caught.value)
