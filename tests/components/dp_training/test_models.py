"""The model factories."""

import pytest

from components.common.errors import ConfigError
from components.dp_training.config import MODELS
from components.dp_training.models import build


@pytest.mark.parametrize("name", MODELS)
def test_every_name_of_the_config_builds_a_model_of_the_asked_shape(name):
    model = build(name, (28, 28, 3), 7)
    assert model.input_shape == (None, 28, 28, 3) and model.output_shape == (None, 7)


def test_the_cnn_has_the_parameters_of_the_paper():
    assert build("tanh_cnn", (28, 28, 1), 10).count_params() == 26010


def test_images_too_small_for_the_model_are_one_line():
    with pytest.raises(
        ConfigError, match=r"^`trainer.model` must fit images of \(4, 4, 1\). Received: tanh_cnn: "
    ) as caught:
        build("tanh_cnn", (4, 4, 1), 10)
    assert "\n" not in str(caught.value)
