"""Running `.tflite` files."""

import numpy as np
import pytest

from components.common.examples import scaled
from components.common.tflite import TFLiteModel
from components.quantization.core import convert


@pytest.fixture(scope="module")
def model(make_model, public):
    made = make_model()
    kernel = made.get_layer("dense").kernel
    values = kernel.numpy()
    values[np.abs(values) < np.quantile(np.abs(values), 0.6)] = 0
    kernel.assign(values)
    return made


@pytest.fixture(scope="module")
def files(model, public):
    return {"float32": convert(model, "float32"), "int8": convert(model, "int8", scaled(public.images))}


@pytest.fixture(scope="module")
def expected(model, public):
    return model.predict(scaled(public.images), verbose=0)


def test_the_float_file_scores_as_keras_does(files, public, expected):
    found = TFLiteModel(files["float32"]).scores(scaled(public.images))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_int8_file_takes_and_gives_plain_scores_close_to_keras(files, public, expected):
    found = TFLiteModel(files["int8"]).scores(scaled(public.images))
    assert found.dtype == np.float32
    spread = expected.max() - expected.min()
    assert np.max(np.abs(found - expected)) < 0.05 * spread
    assert np.mean(found.argmax(1) == expected.argmax(1)) > 0.9


def test_input_beyond_the_calibrated_range_is_clipped_and_does_not_wrap(files):
    tflite = TFLiteModel(files["int8"])
    bright = np.ones((1, 12, 12, 1), np.float32)
    np.testing.assert_array_equal(tflite.scores(bright * 1.5), tflite.scores(bright * 10))


@pytest.mark.parametrize("mode", ["float32", "int8"])
def test_a_batch_by_names_scores_as_images_do(files, model, public, mode):
    tflite, images = TFLiteModel(files[mode]), scaled(public.images)
    found = tflite.outputs({model.input_names[0]: images})
    assert list(found) == model.output_names
    np.testing.assert_array_equal(found["logits"], tflite.scores(images))


def test_scores_do_not_depend_on_how_images_are_batched(files, public):
    tflite = TFLiteModel(files["int8"])
    many = np.tile(scaled(public.images), (3, 1, 1, 1))  # 270: more than one batch, the last one short
    whole = tflite.scores(many)
    assert whole.shape == (270, 3)
    np.testing.assert_array_equal(whole[180:], tflite.scores(many[180:]))
    np.testing.assert_array_equal(whole[:1], tflite.scores(many[:1]))


def test_latencies_are_positive_and_as_many_as_asked_for(files, public):
    tflite = TFLiteModel(files["float32"])
    tflite.scores(scaled(public.images))
    found = tflite.latencies(scaled(public.images)[0], 5)
    assert found.shape == (5,) and np.all(found > 0) and np.all(found < 1e6)
