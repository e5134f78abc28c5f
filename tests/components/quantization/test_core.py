"""Conversion to `.tflite`."""

import numpy as np
import pytest
import tensorflow as tf

from components.common.errors import ConfigError, ModelError
from components.common.examples import scaled
from components.common.legacy_keras import keras
from components.common.tflite import TFLiteModel
from components.gates.measurement import structure
from components.quantization.config import MODES, QuantizeConfig
from components.quantization.core import convert


@pytest.fixture(scope="module")
def model(make_model):
    return make_model()


@pytest.fixture(scope="module")
def files(model, public):
    return {mode: convert(model, mode, scaled(public.images) if mode == "int8" else None) for mode in MODES}


def interpreter(content: bytes) -> tf.lite.Interpreter:
    made = tf.lite.Interpreter(model_content=content)
    made.allocate_tensors()
    return made


def test_int8_is_int8_from_input_to_output(files):
    made = interpreter(files["int8"])
    (taken,), (given,) = made.get_input_details(), made.get_output_details()
    assert (taken["dtype"], given["dtype"]) == (np.int8, np.int8)
    assert taken["quantization"][0] > 0 and given["quantization"][0] > 0
    assert not [d["name"] for d in made.get_tensor_details() if d["dtype"] in (np.float32, np.float16)]
    assert structure(TFLiteModel(files["int8"]))["int8"] is True


@pytest.mark.parametrize("mode", ["float16", "dynamic", "float32"])
def test_the_other_modes_take_and_give_floats_and_do_not_count_as_int8(files, mode):
    made = interpreter(files[mode])
    assert made.get_input_details()[0]["dtype"] == made.get_output_details()[0]["dtype"] == np.float32


def test_only_int8_and_dynamic_store_int8_weights(files):
    assert structure(TFLiteModel(files["float32"]))["int8"] is False
    assert structure(TFLiteModel(files["float16"]))["int8"] is False


@pytest.mark.parametrize(
    ("mode", "tolerance"), [("float32", 1e-5), ("float16", 5e-3), ("dynamic", 5e-2), ("int8", 5e-2)]
)
def test_every_mode_scores_close_to_the_model(files, model, public, mode, tolerance):
    expected = model.predict(scaled(public.images), verbose=0)
    found = TFLiteModel(files[mode]).scores(scaled(public.images))
    assert np.max(np.abs(found - expected)) < tolerance * (expected.max() - expected.min())


def test_converting_twice_gives_the_same_bytes(files, model, public):
    assert convert(model, "int8", scaled(public.images)) == files["int8"]


@pytest.mark.parametrize("calibration", [None, np.empty((0, 12, 12, 1), np.float32)], ids=["none", "empty"])
def test_int8_without_calibration_images_is_refused(model, calibration):
    with pytest.raises(ModelError, match="^int8 must be calibrated on at least one public image. Received: none$"):
        convert(model, "int8", calibration)


@pytest.mark.parametrize(
    "calibration",
    [
        np.zeros((4, 12, 12, 3), np.float32),
        np.zeros((4, 12, 12), np.float32),
        [np.zeros((4, 12, 12, 1), np.float32)] * 2,
    ],
    ids=["channels", "rank", "number"],
)
def test_a_calibration_set_of_another_shape_than_the_inputs_is_refused(model, calibration):
    with pytest.raises(ModelError, match=r"^calibration must fit the inputs .* of model tiny. Received: .\(4, 12, 12"):
        convert(model, "int8", calibration)


def test_arrays_of_several_inputs_must_be_of_as_many_examples_each():
    left, right = keras.layers.Input((3,)), keras.layers.Input((3,))
    both = keras.Model([left, right], keras.layers.Dense(2)(keras.layers.Add()([left, right])), name="both")
    with pytest.raises(ModelError, match=r"^calibration must fit .*Received: \[\(4, 3\), \(5, 3\)\]$"):
        convert(both, "int8", [np.ones((4, 3), np.float32), np.ones((5, 3), np.float32)])


def test_a_constant_calibration_set_still_gives_a_file_with_finite_scores(model, public):
    content = convert(model, "int8", np.full((4, 12, 12, 1), 0.5, np.float32))
    assert np.all(np.isfinite(TFLiteModel(content).scores(scaled(public.images))))


def test_a_model_without_weights_is_not_said_to_be_int8(public):
    bare = keras.Sequential([keras.layers.Input((12, 12, 1)), keras.layers.Flatten()])
    assert structure(TFLiteModel(convert(bare, "int8", scaled(public.images))))["int8"] is False


@pytest.mark.parametrize(
    ("operation", "says"),
    [(tf.math.erf, "TFLite says: ."), (tf.cos, "2 tensors stay float, such as .")],
    ids=["unknown to TFLite", "without an int8 kernel"],
)
def test_an_operation_that_cannot_be_int8_is_one_line(public, operation, says):
    image = keras.layers.Input((12, 12, 1))
    made = keras.Model(image, keras.layers.Flatten()(keras.layers.Lambda(operation)(image)), name="odd")
    with pytest.raises(ModelError, match=f"^model odd must convert to int8. {says}") as caught:
        convert(made, "int8", scaled(public.images))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"mode": "int4"}, "^`mode` must be one of int8, float16, dynamic, float32. Received: mode='int4'$"),
        ({"calibration_examples": 0}, "^`calibration_examples` must be at least 1. Received: calibration_examples=0$"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        QuantizeConfig(**settings)
