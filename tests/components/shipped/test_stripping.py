"""A stripped file is the same model in fewer bytes."""

import lzma

import numpy as np
import pytest
import tensorflow as tf

from components.common.tflite import TFLiteModel
from components.shipped.flatbuffer import packed, unpacked
from components.shipped.reading import read
from components.shipped.stripping import strip
from tests.components.zoo import make, public_inputs


def converted(name: str) -> tuple:
    """The file as TFLite's converter writes it, int8 inside, and some inputs by name."""
    model = make(name)
    inputs = public_inputs(model, 20)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    named = dict(zip(model.input_names, inputs, strict=True))
    converter.representative_dataset = lambda: ({n: a[i : i + 1] for n, a in named.items()} for i in range(20))
    return converter.convert(), named


@pytest.fixture(scope="module", params=["residual", "two_inputs", "two_outputs", "inverted_residuals"])
def files(request):
    content, inputs = converted(request.param)
    return content, stripped_of(content), inputs


def stripped_of(content: bytes) -> bytes:
    model = unpacked(content)
    strip(model)
    return packed(model)


def test_scores_are_the_same_by_the_names_of_inputs_and_outputs(files):
    content, stripped, inputs = files
    before, after = TFLiteModel(content).outputs(inputs), TFLiteModel(stripped).outputs(inputs)
    assert before.keys() == after.keys() and len(before) >= 1
    for name, scores in before.items():
        np.testing.assert_array_equal(after[name], scores)


def test_names_of_inner_tensors_and_notes_go(files):
    content, stripped, _ = files
    model = unpacked(stripped)
    (graph,) = model.subgraphs
    named = {i for i, tensor in enumerate(graph.tensors) if tensor.name}
    assert named == {*graph.inputs, *graph.outputs}
    assert not model.metadata and model.signatureDefs
    assert b"min_runtime_version" in content and b"min_runtime_version" not in stripped
    assert len(lzma.compress(stripped)) < 0.97 * len(lzma.compress(content)) and len(stripped) < 0.9 * len(content)


def test_weights_are_the_same_tensors(files):
    content, stripped, _ = files
    before, after = read(content), read(stripped)
    assert before.operators == after.operators
    assert len(before.weights) == len(after.weights) >= 4
    for one, other in zip(before.weights, after.weights, strict=True):
        np.testing.assert_array_equal(one.real(), other.real())


def test_stripping_twice_changes_nothing(files):
    _, stripped, _ = files
    assert stripped_of(stripped) == stripped
