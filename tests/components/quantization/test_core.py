"""Conversion to `.tflite`."""

import numpy as np
import pytest
import tensorflow as tf

from components.common.compressed import Compressed
from components.common.errors import ConfigError, ModelError
from components.common.examples import scaled
from components.common.legacy_keras import keras
from components.common.public_training import fit_public
from components.common.tflite import TFLiteModel
from components.common.tuning import PublicTuning
from components.quantization.config import CALIBRATED, MODES, QuantizeConfig
from components.quantization.core import convert, quantize
from components.shipped.reading import read


@pytest.fixture(scope="module")
def model(make_model):
    return make_model()


@pytest.fixture(scope="module")
def files(model, public):
    return {mode: convert(model, mode, scaled(public.images) if mode in CALIBRATED else None) for mode in MODES}


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
    assert read(files["int8"]).int8_weights == read(files["int8"]).integer_operators == 1


@pytest.mark.parametrize("mode", ["float16", "dynamic", "float32"])
def test_the_other_modes_take_and_give_floats_and_do_not_count_as_int8(files, mode):
    made = interpreter(files[mode])
    assert made.get_input_details()[0]["dtype"] == made.get_output_details()[0]["dtype"] == np.float32


def test_only_int8_and_dynamic_store_int8_weights(files):
    assert read(files["float32"]).int8_weights == 0
    assert read(files["float16"]).int8_weights == 0


@pytest.mark.parametrize(
    ("mode", "tolerance"),
    [("float32", 1e-5), ("float16", 5e-3), ("dynamic", 5e-2), ("int8", 5e-2), ("int16x8", 1e-2)],
)
def test_every_mode_scores_close_to_the_model(files, model, public, mode, tolerance):
    expected = model.predict(scaled(public.images), verbose=0)
    found = TFLiteModel(files[mode]).scores(scaled(public.images))
    assert np.max(np.abs(found - expected)) < tolerance * (expected.max() - expected.min())


def test_converting_twice_gives_the_same_bytes(files, model, public):
    assert convert(model, "int8", scaled(public.images)) == files["int8"]


@pytest.mark.parametrize("mode", CALIBRATED)
@pytest.mark.parametrize("calibration", [None, np.empty((0, 12, 12, 1), np.float32)], ids=["none", "empty"])
def test_integers_without_calibration_images_are_refused(model, mode, calibration):
    with pytest.raises(ModelError, match=f"^{mode} must be calibrated on at least one public example. Received: none$"):
        convert(model, mode, calibration)


def test_calibration_with_nan_is_refused(model):
    with pytest.raises(ModelError, match="^calibration must be finite"):
        convert(model, "int8", np.full((4, 12, 12, 1), np.nan, np.float32))


@pytest.mark.parametrize("per_channel", [True, False])
def test_a_convolution_has_a_scale_a_channel_unless_one_is_asked_for(model, public, per_channel):
    content = convert(model, "int8", scaled(public.images), per_channel=per_channel)
    (conv,) = [w for w in read(content).weights if w.values.ndim == 4]
    assert (conv.scale_axis is not None) == per_channel


@pytest.mark.parametrize("mode", ["int8", "dynamic", "int16x8"])
def test_training_for_int8_leaves_weights_that_the_file_stores_exactly(model, public, mode):
    tuning = PublicTuning(epochs=2, learning_rate=0.01)
    calibration = scaled(public.images) if mode in CALIBRATED else None

    def tune(made, held):
        fit_public(made, public, tuning, held)

    config = QuantizeConfig(mode=mode, public=tuning)
    made, content = quantize(Compressed(model=model), config, calibration, tune)
    kernel = made.model.get_layer("conv").kernel.numpy()
    assert not np.allclose(kernel, model.get_layer("conv").kernel)
    stored = tf.lite.Interpreter(model_content=content)
    (detail,) = [d for d in stored.get_tensor_details() if list(d["shape"]) == [4, 3, 3, 1]]
    values = stored.get_tensor(detail["index"]).astype(np.float32)
    if mode != "dynamic":  # which leaves so small a kernel in floating point
        values *= detail["quantization_parameters"]["scales"].reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(values, np.moveaxis(kernel, -1, 0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("per_channel", [True, False])
def test_training_for_int8_leaves_depthwise_weights_that_the_file_stores_exactly(public, per_channel):
    layers, images = keras.layers, scaled(public.images)
    model = keras.Sequential(
        [
            layers.Input((12, 12, 1)),
            layers.Conv2D(3, 3),
            layers.DepthwiseConv2D(3, depth_multiplier=2, depthwise_initializer="random_normal"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    tuning = PublicTuning(epochs=1)
    config = QuantizeConfig(public=tuning, per_channel=per_channel)
    made, content = quantize(
        Compressed(model=model), config, images, lambda m, held: fit_public(m, public, tuning, held)
    )
    (stored,) = [w.real() for w in read(content).weights if w.operator == "DEPTHWISE_CONV_2D"]
    kernel = made.model.layers[1].depthwise_kernel.numpy()
    np.testing.assert_allclose(stored.reshape(3, 3, 3, 2), kernel, rtol=1e-5, atol=1e-7)


def test_training_for_int8_brings_back_what_rounding_lost(public):
    """Two of 16 units are 250 times as loud as the others, which the next layer undoes: int8 has one scale for all."""
    layers, images = keras.layers, scaled(public.images)
    keras.utils.set_random_seed(3)
    model = keras.Sequential([layers.Input((12, 12, 1)), layers.Flatten(), layers.Dense(16, "relu"), layers.Dense(3)])
    fit_public(model, public, PublicTuning(epochs=40, learning_rate=0.01))
    loud = np.where(np.arange(16) < 2, 250.0, 1.0)
    model.layers[1].set_weights([w * loud for w in model.layers[1].get_weights()])
    model.layers[2].kernel.assign(model.layers[2].kernel / loud[:, None])
    tuning = PublicTuning(epochs=30, learning_rate=0.01)

    def accuracy(config: QuantizeConfig, tune=None) -> float:
        content = quantize(Compressed(model=model), config, images, tune)[1]
        return np.mean(TFLiteModel(content).scores(images).argmax(1) == public.labels)

    def tune(made, held):
        fit_public(made, public, tuning, held)

    assert accuracy(QuantizeConfig()) < 0.6
    assert accuracy(QuantizeConfig(public=tuning), tune) > 0.9


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


def test_black_images_alone_set_no_range_and_are_refused(model):
    """TFLite of TF 2.21 would not run the file."""
    with pytest.raises(ModelError, match="^calibration must set a range for every input. Received: zeros only$"):
        convert(model, "int8", np.zeros((4, 12, 12, 1), np.float32))


def test_a_constant_calibration_set_still_gives_a_file_with_finite_scores(model, public):
    content = convert(model, "int8", np.full((4, 12, 12, 1), 0.5, np.float32))
    assert np.all(np.isfinite(TFLiteModel(content).scores(scaled(public.images))))


def test_a_model_without_weights_is_not_said_to_be_int8(public):
    bare = keras.Sequential([keras.layers.Input((12, 12, 1)), keras.layers.Flatten()])
    assert read(convert(bare, "int8", scaled(public.images))).int8_weights == 0


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
        ({"mode": "int4"}, "^`mode` must be one of int8, int16x8, float16, dynamic, float32. Received: mode='int4'$"),
        (
            {"mode": "float16", "public": PublicTuning(epochs=1)},
            "^`mode` must be one of int8, int16x8, dynamic to be trained for. Received: mode='float16'$",
        ),
        ({"calibration_examples": 0}, "^`calibration_examples` must be at least 1. Received: calibration_examples=0$"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        QuantizeConfig(**settings)
