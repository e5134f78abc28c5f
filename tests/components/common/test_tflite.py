"""Reading `.tflite` files back: scores, weights and sizes."""

import gzip
import hashlib

import numpy as np
import pytest

from components.common.examples import scaled
from components.common.tflite import Constant, TFLiteModel, sizes
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


@pytest.mark.parametrize("mode", ["float32", "int8"])
def test_the_weight_tensors_of_the_file_are_the_models_kernels(files, model, mode):
    found = TFLiteModel(files[mode]).constants()
    assert sorted(c.values.size for c in found) == [24, 36, 800]
    assert {c.values.dtype for c in found} == {np.dtype(mode)}
    dense = next(c for c in found if c.values.size == 800)
    assert dense.sparsity() >= 0.6 - 1e-9
    if mode == "float32":
        np.testing.assert_array_equal(
            np.sort(dense.values.ravel()), np.sort(model.get_layer("dense").kernel.numpy().ravel())
        )
        assert dense.sparsity() == pytest.approx(0.6)
        assert dense.distinct() == len(np.unique(model.get_layer("dense").kernel))


def test_sparsity_counts_the_stored_value_that_means_zero():
    values = np.array([[3, 3, 0, 1]], np.int8)
    assert Constant(name="w", values=values, zero=3, channel_axis=None).sparsity() == 0.5
    assert Constant(name="w", values=values, zero=0, channel_axis=None).sparsity() == 0.25


def test_distinct_values_are_counted_where_they_share_a_scale():
    values = np.array([[1, 2, 3], [4, 4, 4]], np.int8)
    assert Constant(name="w", values=values, zero=0, channel_axis=None).distinct() == 4
    assert Constant(name="w", values=values, zero=0, channel_axis=0).distinct() == 3
    assert Constant(name="w", values=values, zero=0, channel_axis=1).distinct() == 2


def test_sizes_are_those_of_the_bytes_and_the_same_each_time():
    content = b"lockgate" * 1000
    found = sizes(content)
    assert (
        found
        == sizes(bytes(content))
        == {
            "bytes": 8000,
            "gzip_bytes": len(gzip.compress(content, 9, mtime=12345)),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    )
    assert found["gzip_bytes"] < 100
