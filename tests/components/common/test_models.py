"""Saving and loading: `model.keras` exactly, and the SavedModel that takes encoded images."""

import numpy as np
import pytest
import tensorflow as tf

from components.common.examples import scaled
from components.common.models import SERVING, load_model, save_model, save_serving

SHAPE = (12, 12, 1)


@pytest.fixture(scope="module")
def model(make_model):
    return make_model()


def test_a_model_comes_back_with_the_same_weights_and_scores(model, public, tmp_path):
    save_model(model, str(tmp_path))
    again = load_model(str(tmp_path))
    for ours, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    images = scaled(public.images)
    np.testing.assert_array_equal(again.predict(images, verbose=0), model.predict(images, verbose=0))
    assert again.optimizer is None


@pytest.fixture(scope="module")
def serve(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving")
    save_serving(model, str(folder), SHAPE)
    loaded = tf.saved_model.load(str(folder / SERVING))
    return loaded, loaded.signatures["serving_default"]  # the module must outlive its signature


def test_the_signature_returns_the_softmax_of_the_models_logits_on_encoded_images(serve, model, public, encode):
    encoded = tf.constant([encode(image) for image in public.images[:7]])
    found = serve[1](image=encoded)["probabilities"].numpy()
    expected = tf.nn.softmax(model(scaled(public.images[:7]))).numpy()
    assert found.dtype == np.float32 and found.shape == (7, 3)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_signature_takes_any_number_of_images_and_refuses_another_size(serve, public, encode):
    assert serve[1](image=tf.constant([encode(public.images[0])]))["probabilities"].shape == (1, 3)
    with pytest.raises(tf.errors.InvalidArgumentError):
        serve[1](image=tf.constant([encode(public.images[0][:6])]))
