"""Files that are tried in a process of their own: what loads, what answers, what must not be served."""

import numpy as np
import pytest

from components.common.legacy_keras import keras
from components.gates.probe.core import probed, timed
from components.quantization.core import convert

SHAPE = (12, 12, 1)


def small(*layers, shape=SHAPE) -> keras.Model:
    return keras.Sequential([keras.layers.Input(shape), keras.layers.Flatten(), keras.layers.Dense(3), *layers])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One file a kind, by what is wrong with it."""
    folder = tmp_path_factory.mktemp("files")
    images = np.random.default_rng(1).random((20, *SHAPE)).astype(np.float32)
    good = convert(small(), "int8", images)
    contents = {
        "int8": good,
        "float": convert(small(), "float32"),
        "text": b"not a model",
        "empty": b"",
        "cut": good[: len(good) // 2],
        "nan": convert(small(keras.layers.Lambda(lambda x: x / 0.0 - x / 0.0)), "float32"),
        "other classes": convert(small(keras.layers.Dense(4)), "float32"),
        "other images": convert(small(shape=(10, 10, 1)), "float32"),
        "custom": custom(),
    }
    for name, content in contents.items():
        (folder / f"{name}.tflite").write_bytes(content)
    return {name: folder / f"{name}.tflite" for name in contents}


def custom() -> bytes:
    """A file that loads only where somebody registers an operator of that name."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([1, *SHAPE], tf.float32)])
    def odd(images):
        return tf.math.igamma(tf.reshape(images, [1, -1])[:, :3], tf.ones([1, 3]))

    converter = tf.lite.TFLiteConverter.from_concrete_functions([odd.get_concrete_function()])
    converter.allow_custom_ops = True
    return converter.convert()


def test_what_may_serve_has_no_complaint_and_what_may_not_says_why(files):
    found = probed({**files, "gone": files["int8"].with_name("gone.tflite")}, SHAPE, 3)
    says = {name: " ".join(answer["complaints"]) for name, answer in found.items()}
    assert says["int8"] == says["float"] == ""
    for name in ("text", "empty", "custom", "gone"):
        assert says[name].startswith("does not load"), name
    assert "igamma" in says["custom"].lower()
    assert "not finite" in says["nan"]
    assert "answers [1, 4] where [1, 3] is meant" in says["other classes"]
    assert says["other images"].startswith("takes [[1, 10, 10, 1]]")
    assert says["cut"]  # it does not load, or kills its process, and no other file's
    assert [name for name, answer in found.items() if not answer["survived"]] in ([], ["cut"])
    assert 0 < found["int8"]["peak_bytes"] < 100_000_000 and found["text"]["peak_bytes"] is None


def test_a_file_is_timed_beside_its_parent_and_one_that_does_not_run_is_not(files):
    took = timed(files["float"], files["int8"], SHAPE)
    assert took.ratio.low <= took.ratio.median <= took.ratio.high and took.parent.median > 0
    assert timed(files["float"], files["text"], SHAPE) is None


def test_the_process_that_serves_imports_nothing_of_ours():
    import ast
    from pathlib import Path

    from components.gates.probe import core

    tree = ast.parse(Path(core._CHILD).read_text())
    names = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert names == {"json", "os", "select", "signal", "sys", "numpy", "tensorflow"}
