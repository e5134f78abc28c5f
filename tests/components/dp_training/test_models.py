"""The model factories, what they start from, and training that skips their fixed layers."""

import functools

import numpy as np
import pytest

from components.common.errors import ConfigError
from components.common.examples import Split
from components.common.legacy_keras import keras
from components.common.tflite import TFLiteModel
from components.dp_training import models
from components.dp_training.config import MODELS, TrainerConfig
from components.dp_training.core import train_privately
from components.dp_training.fixed import features_of, without_fixed_layers
from components.dp_training.journal import Journal
from components.dp_training.models import build, deployable, gabor_filters
from components.dp_training.scattering import Scattering2D
from components.dp_training.synthetic import random_images
from components.dp_training.wavelet_features import WaveletFeatures
from components.dp_training.whitening import Standardize, whitening
from components.privacy.accounting import Mechanism
from components.quantization.core import convert

GREY = (20, 20, 1)


@pytest.fixture(scope="module", autouse=True)
def few_random_images():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "_RANDOM_IMAGES", 60)
        patch.setattr(models, "_DIRECTIONS", 20)
        yield


@functools.cache
def built(name, shape=GREY, classes=10):
    """A model that tests share: each sets the head as it needs it."""
    return build(name, shape, classes)


def test_every_name_of_the_config_has_a_factory():
    assert set(MODELS) == set(models._FACTORIES)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("shape", "classes"), [(GREY, 10), ((20, 24, 3), 3)])
def test_takes_images_returns_logits_and_starts_the_same_from_save_and_load(name, shape, classes, tmp_path):
    model, images = built(name, shape, classes), random_images(3, shape, seed=1)
    assert model(images).shape == (3, classes)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(loaded(images), model(images), atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_converts_to_a_float_tflite_of_any_batch_size(name):
    model, images = built(name), random_images(7, GREY, seed=1)
    _disturb(model)
    shipped = deployable(model)
    scores = TFLiteModel(convert(shipped, "float32")).scores(images)
    np.testing.assert_allclose(scores, shipped(images), atol=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_too_small_an_image_is_one_clear_line(name):
    with pytest.raises(ConfigError, match="must fit images of"):
        build(name, (2, 2, 1), 10)


def test_what_is_shipped_has_no_whitening_and_nearly_the_same_logits():
    model, images = built("scattering_linear"), random_images(9, GREY, seed=2)
    _disturb(model)
    small = deployable(model)
    assert np.abs(small(images) - model(images)).max() < 0.05 * np.std(model(images))
    assert [layer.name for layer in small.layers] == ["features", "logits"]
    assert deployable(small) is small


def test_equal_ranges_keep_the_function_and_survive_int8():
    model, images = built("gabor_cnn"), random_images(200, GREY, seed=4)
    _disturb(model)
    conv = model.get_layer("conv")
    uneven = np.geomspace(1, 300, 32).astype(np.float32)
    conv.set_weights([w * uneven for w in conv.get_weights()])
    before = model(images).numpy()
    lost = np.abs(TFLiteModel(convert(model, "int8", images)).scores(images) - before).mean()
    assert deployable(model) is model
    np.testing.assert_allclose(model(images), before, atol=0.02 * np.abs(before).max())
    kept = np.abs(TFLiteModel(convert(model, "int8", images)).scores(images) - before).mean()
    assert kept < 0.5 * lost
    assert deployable(built("tanh_cnn")) is built("tanh_cnn")


def test_fixed_layers_are_computed_once_and_the_rest_trains_the_same_weights():
    model = built("scattering_linear")
    private = Split(images=(255 * random_images(12, GREY, 3)).astype(np.uint8), labels=np.arange(12) % 10)
    front, head = without_fixed_layers(model)
    _disturb(model)
    pieces = list(features_of(front, [private.take(np.arange(7)), private.take(np.arange(7, 12))]))
    features = np.concatenate([piece.images for piece in pieces])
    assert features.shape == (12, 20) and features.dtype == np.float32
    assert np.concatenate([piece.labels for piece in pieces]).tolist() == private.labels.tolist()
    np.testing.assert_allclose(head(features), model(private.images.astype(np.float32) / 255.0), atol=1e-4)
    assert [v is w for v, w in zip(head.trainable_variables, model.trainable_variables, strict=True)] == [True, True]


def test_a_model_whose_first_layers_are_cheap_is_trained_whole():
    model = built("gabor_cnn")
    assert without_fixed_layers(model) == (None, model)


@pytest.mark.parametrize("name", ["gabor_cnn", "scattering_linear"])
def test_learns_privately_what_is_easy(name, tmp_path):
    """A bright upper half or none, 200 of each, at hardly any noise."""
    model = built(name)
    model.get_layer("logits").set_weights([np.zeros(w.shape) for w in model.get_layer("logits").get_weights()])
    images = np.random.default_rng(0).integers(0, 60, (400, *GREY)).astype(np.uint8)
    labels = np.arange(400) % 2
    images[labels == 1, :10] += 190
    clip, rate = (10.0, 0.1) if name == "gabor_cnn" else (0.25, 50.0)
    config = TrainerConfig(
        model=name,
        population=400,
        expected_batch_size=200,
        steps=25,
        l2_norm_clip=clip,
        learning_rate=rate,
        schedule="linear",
    )
    mechanism = Mechanism(noise_multiplier=0.1, sampling_probability=0.5, steps=25)
    private = Split(images=images, labels=labels)
    front, trained = without_fixed_layers(model)
    (private,) = features_of(front, [private]) if front else [private]
    train_privately(trained, private, config, mechanism, Journal(tmp_path, 1e9))
    assert np.mean(model.predict(images / 255.0, verbose=0).argmax(1) == labels) > 0.85


def test_gabor_filters_are_distinct_and_see_no_brightness():
    bank = gabor_filters(32, 7).reshape(49, 32)
    np.testing.assert_allclose(bank.sum(0), 0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(bank, axis=0), 1, atol=1e-5)
    assert np.abs(bank.T @ bank - np.eye(32)).max() < 0.999


def test_whitening_makes_the_covariance_round():
    draw = np.random.default_rng(0)
    features = (draw.standard_normal((4000, 12)) @ draw.standard_normal((12, 12)) + 5).astype(np.float32)
    kernel, bias = whitening(features, 12, floor=1e-9)
    white = features @ kernel + bias
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-3)
    covariance = np.cov(white.T)
    np.testing.assert_allclose(covariance / covariance[0, 0], np.eye(12), atol=1e-2)
    np.testing.assert_allclose(np.linalg.norm(white, axis=1).mean(), 1, rtol=1e-3)


def test_layers_without_weights_do_what_they_say():
    x = np.random.default_rng(0).random((3, 5, 6, 4)).astype(np.float32) * 7 + 2
    for each, axes in ((True, (1, 2)), (False, (1, 2, 3))):
        z = Standardize(each_channel=each, epsilon=0.0)(x).numpy()
        np.testing.assert_allclose(z.mean(axes), 0, atol=1e-4)
        np.testing.assert_allclose(z.var(axes), 1, atol=1e-3)


def test_int8_standardizes_a_quiet_channel_beside_one_with_a_spike():
    x = np.random.default_rng(0).uniform(-1, 1, (20, 7, 7, 2)).astype(np.float32)
    x *= np.linspace(0.8, 2, 20, dtype=np.float32)[:, None, None, None]
    x[:, 3, 3, 1] = 20
    model = keras.Sequential([keras.layers.Input((7, 7, 2)), Standardize(each_channel=True), keras.layers.Flatten()])
    errors = TFLiteModel(convert(model, "int8", x)).scores(x) - model(x).numpy()
    assert np.abs(errors.reshape(x.shape)[..., 0]).mean() < 0.09


def test_wavelet_features_are_normed_logarithms_of_scattering():
    images, features = random_images(50, (16, 16, 1)), WaveletFeatures()
    features.adapt(images)
    expected = []
    for j in (1, 2):
        paths = Scattering2D(j)(images).numpy()
        logs = np.log(paths / np.sqrt((paths**2).mean((0, 1, 2))) + 0.1)
        expected.append((logs / np.sqrt((logs**2).mean((1, 2, 3), keepdims=True))).reshape(50, -1))
    np.testing.assert_allclose(features(images), np.concatenate(expected, 1), atol=5e-3)


def test_random_images_are_images_and_repeat():
    images = random_images(20, (16, 12, 3), seed=4)
    assert images.shape == (20, 16, 12, 3) and images.dtype == np.float32
    assert images.min() >= 0 and images.max() <= 1 and images.std((1, 2, 3)).min() >= 0
    np.testing.assert_array_equal(images, random_images(20, (16, 12, 3), seed=4))


def _disturb(model):
    head = model.get_layer("logits")
    head.set_weights([np.random.default_rng(0).normal(size=w.shape, scale=0.05) for w in head.get_weights()])
