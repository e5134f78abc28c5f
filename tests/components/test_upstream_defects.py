"""What is broken in TFMOT 0.8.1, on the smallest models that show it: why the combined stages do not use its schemes.

A test here that fails after an update of TFMOT is good news: what it documents was repaired.
"""

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot
from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.cluster_preserve import (
    cluster_utils,
    default_8bit_cluster_preserve_quantize_scheme,
)

from components.common.legacy_keras import keras
from components.quantization.core import convert
from components.shipped.reading import Weight, read

layers = keras.layers
quantization, sparsity = tfmot.quantization.keras, tfmot.sparsity.keras
FOUR = np.array([-0.6, -0.2, 0.3, 0.7], np.float32)


def convolutional(*convolutions: keras.layers.Layer, channels: int) -> keras.Model:
    keras.utils.set_random_seed(0)
    head = [layers.Flatten(name="flatten"), layers.Dense(3, name="logits")]
    return keras.Sequential([layers.Input((6, 6, channels)), *convolutions, *head])


def give(model: keras.Model, name: str, zeros: float) -> None:
    """Gives a layer a kernel of four values, of which a fraction is set to zero."""
    draw = np.random.default_rng(1)
    kernel, bias = model.get_layer(name).get_weights()
    kernel = np.where(draw.random(kernel.shape) < zeros, 0.0, draw.choice(FOUR, kernel.shape))
    model.get_layer(name).set_weights([kernel, bias])


def preserving_training(model: keras.Model, preserve_sparsity: bool) -> list[Weight]:
    """Trains as TFMOT's guides of CQAT and PCQAT do, and reads the convolutions' kernels from the `.tflite`."""
    scheme = default_8bit_cluster_preserve_quantize_scheme.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity)
    aware = quantization.quantize_apply(quantization.quantize_annotate_model(model), scheme)
    aware.compile(keras.optimizers.Adam(0.01), "mse")
    draw = np.random.default_rng(2)
    images = draw.random((32, *model.input_shape[1:]), np.float32)
    aware.fit(images, draw.normal(size=(32, 3)), batch_size=8, verbose=0)
    content = convert(cluster_utils.strip_clustering_cqat(aware), "dynamic")
    return [weight for weight in read(content).weights if weight.values.ndim == 4]


def test_pcqat_zeroes_1x1_convolutions():
    """TFMOT #979: the centroid nearest to zero is set to zero in every channel, also in those that have no zeros."""
    model = convolutional(layers.Conv2D(4, 1, name="conv"), channels=2)
    kernel = np.full((1, 1, 2, 4), 0.3)
    kernel[0, 0, 0, 0] = 0.0
    model.get_layer("conv").set_weights([kernel, np.zeros(4)])
    (found,) = preserving_training(model, preserve_sparsity=True)
    assert found.sparsity() == 7 / 8  # it was 1/8


def test_cqat_loses_the_clusters_of_a_convolution():
    """TFMOT #1056: clusters of a whole kernel are taken for clusters of each channel, which then go their own ways."""
    model = convolutional(layers.Conv2D(8, 3, name="conv"), channels=4)
    give(model, "conv", zeros=0.0)
    (found,) = preserving_training(model, preserve_sparsity=False)
    assert found.distinct_in_a_channel() <= 4 < 8 < len(np.unique(found.values))


def test_pcqat_forgets_all_zeros_after_a_layer_that_has_none():
    """One quantizer serves all convolutions, and the first kernel without a zero turns its `preserve_sparsity` off."""
    model = convolutional(layers.Conv2D(8, 3, name="dense"), layers.Conv2D(8, 3, name="sparse"), channels=4)
    give(model, "dense", zeros=0.0)
    give(model, "sparse", zeros=0.5)
    before = np.mean(model.get_layer("sparse").get_weights()[0] == 0)
    sparse = next(weight for weight in preserving_training(model, True) if weight.values.shape[-1] == 8)
    assert before > 0.4 and sparse.sparsity() < 0.1


def test_a_quantization_aware_model_does_not_come_back_from_a_keras_file(tmp_path):
    model = quantization.quantize_model(convolutional(layers.Conv2D(4, 3), channels=1))
    model.save(tmp_path / "model.keras")
    with quantization.quantize_scope(), pytest.raises(ValueError, match="expected 5 variables|expected 3 variables"):
        keras.models.load_model(tmp_path / "model.keras")


@pytest.mark.parametrize(
    ("layer", "shape", "says"),
    [
        (keras.Sequential([layers.Conv2D(4, 3)]), (6, 6, 1), "a keras Model inside another keras Model"),
        (layers.Conv1D(4, 3), (6, 1), "Conv1D'> is not supported"),
        (layers.GroupNormalization(1), (6, 6, 1), "GroupNormalization'> is not supported"),
    ],
    ids=["nested", "Conv1D", "GroupNormalization"],
)
def test_quantization_aware_training_refuses(layer, shape, says):
    model = keras.Sequential([layers.Input(shape), layer, layers.Flatten(), layers.Dense(3)])
    with pytest.raises((ValueError, RuntimeError), match=says):
        quantization.quantize_model(model)


@pytest.mark.parametrize(("channels", "zeros"), [(8, 1 / 2), (3, 1 / 3), (1, 0.0)])
def test_two_of_four_prunes_a_convolution_of_few_input_channels_less_or_not_at_all(channels, zeros):
    """The padding to four channels counts as pruned."""
    conv = layers.Conv2D(4, 3, name="conv")
    schedule = sparsity.ConstantSparsity(0.5, begin_step=0, frequency=1)
    wrapped = sparsity.prune_low_magnitude(convolutional(conv, channels=channels), schedule, sparsity_m_by_n=(2, 4))
    wrapped.compile("sgd", "mse")
    images = np.ones((8, 6, 6, channels))
    wrapped.fit(images, np.ones((8, 3)), batch_size=2, verbose=0, callbacks=[sparsity.UpdatePruningStep()])
    kernel = sparsity.strip_pruning(wrapped).get_layer("conv").kernel
    assert np.mean(kernel == 0) == pytest.approx(zeros)
