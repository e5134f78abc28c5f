"""A `.tflite` read from its flatbuffer, against the model and against TFLite's interpreter."""

import numpy as np
import pytest
import tensorflow as tf

from components.common.examples import scaled
from components.quantization.core import convert
from components.shipped.reading import Weight, read


@pytest.fixture(scope="module")
def model(make_model):
    made = make_model()
    kernel = made.get_layer("dense").kernel
    values = kernel.numpy()
    values[np.abs(values) < np.quantile(np.abs(values), 0.6)] = 0
    kernel.assign(values)
    return made


@pytest.fixture(scope="module")
def files(model, public):
    modes = ("float32", "float16", "dynamic", "int8", "int16x8")
    return {m: convert(model, m, scaled(public.images) if m.startswith("int") else None) for m in modes}


@pytest.mark.parametrize(
    ("mode", "dtype"), [("float32", "float32"), ("float16", "float16"), ("int8", "int8"), ("int16x8", "int8")]
)
def test_the_weights_of_the_file_are_the_models_kernels(files, model, mode, dtype):
    found = {w.values.size: w for w in read(files[mode]).weights}
    assert sorted(found) == [24, 36, 800]
    assert {w.dtype for w in found.values()} == {dtype}
    for name, size in (("conv", 36), ("dense", 800), ("logits", 24)):
        kernel = np.moveaxis(model.get_layer(name).kernel.numpy(), -1, 0)
        np.testing.assert_allclose(found[size].real().reshape(kernel.shape), kernel, atol=np.abs(kernel).max() / 200)
    assert found[800].sparsity() >= 0.6 - 1e-9


def test_it_says_what_the_interpreter_says(files):
    interpreter = tf.lite.Interpreter(model_content=files["int8"])
    details = {tuple(d["shape"]): d for d in interpreter.get_tensor_details()}
    for weight in read(files["int8"]).weights:
        detail = details[weight.values.shape]
        np.testing.assert_array_equal(weight.values, interpreter.get_tensor(detail["index"]))
        np.testing.assert_array_equal(weight.scales, detail["quantization_parameters"]["scales"])
        stored = files["int8"][weight.start : weight.start + weight.bytes]
        assert stored == weight.values.tobytes()


@pytest.mark.parametrize(
    ("mode", "weights", "operators"),
    [("float32", 0, 0), ("float16", 0, 0), ("dynamic", 0, 0), ("int8", 1, 1), ("int16x8", 1, 1)],
)
def test_shares_of_int8(files, mode, weights, operators):
    found = read(files[mode])
    assert (found.int8_weights, found.integer_operators) == (weights, operators)
    assert found.sparsity == pytest.approx(0.6 * 800 / 860, abs=0.02)


def weight(values, **changes) -> Weight:
    settings = {"name": "w", "operator": "CONV_2D", "dtype": "int8", "start": 0, "bytes": np.size(values)}
    scale = {"scales": np.float32([0.5]), "zeros": np.int64([0]), "scale_axis": None, "channel_axis": 0}
    return Weight(values=np.int8(values), **{**settings, **scale, **changes})


def test_sparsity_counts_the_stored_value_that_means_zero():
    assert weight([[3, 3, 0, 1]], zeros=np.int64([3])).sparsity() == 0.5
    assert weight([[3, 3, 0, 1]]).sparsity() == 0.25


def test_distinct_values_are_counted_in_all_and_by_channel():
    values = [[1, 2, 3], [4, 4, 4]]
    assert weight(values).distinct() == 4
    assert weight(values).distinct_in_a_channel() == 3
    assert weight(values, channel_axis=1).distinct_in_a_channel() == 2


def test_real_values_are_scaled_by_channel():
    found = weight([[1, 2], [3, 4]], scales=np.float32([1, 10]), zeros=np.int64([1, 1]), scale_axis=0).real()
    np.testing.assert_array_equal(found, [[0, 1], [20, 30]])
