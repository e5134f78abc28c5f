"""Features of an image for a linear head: logarithms of scattering coefficients at several scales."""

import numpy as np
import tensorflow as tf

from components.common.legacy_keras import keras
from components.dp_training.scattering import Scattering2D

_OFFSET = 0.1  # under the logarithm, as a fraction of a path's root mean square


@keras.utils.register_keras_serializable("lockgate")
class WaveletFeatures(keras.layers.Layer):
    """For each of `scales`, the scattering coefficients s of that many octaves become z = log(s / scale + 0.1), and
    then z / sqrt(mean of z² over the example); side by side, float32 [n, features].

    The logarithm makes magnitudes of wavelet coefficients nearly Gaussian (Bruna and Mallat 2013, arXiv:1203.1513).
    The averages over few octaves keep positions, those over many forgive small shifts. `scale`, one number a path, is
    set by `adapt`; nothing is trained.

    Args:
        scales: numbers of octaves.
        angles: orientations of the wavelets.
        corners: how the modulus is computed; see Scattering2D.
    """

    def __init__(self, scales: tuple[int, ...] = (1, 2), angles: int = 8, corners: int = 0, **kwargs):
        super().__init__(trainable=False, **{k: v for k, v in kwargs.items() if k != "trainable"})
        self.scales, self.angles, self.corners = tuple(scales), angles, corners
        self._transforms = [Scattering2D(j, angles, corners=corners, name=f"scattering{j}") for j in self.scales]

    def build(self, input_shape) -> None:
        self._path_scales = []
        for j, transform in zip(self.scales, self._transforms, strict=True):
            transform.build(input_shape)
            parts = transform.parts(tf.zeros((1, *input_shape[1:])))
            self._path_scales.append([self._scale(f"scale{j}_{i}", p.shape[-1]) for i, p in enumerate(parts)])
        super().build(input_shape)

    def _scale(self, name: str, paths: int) -> tf.Variable:
        return self.add_weight(name=name, shape=(paths,), initializer="ones", trainable=False)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        parts = []
        for transform, scales in zip(self._transforms, self._path_scales, strict=True):
            paths = zip(transform.parts(images), scales, strict=True)
            logs = tf.concat([tf.math.log(part * (1.0 / scale) + _OFFSET) for part, scale in paths], -1)
            size = tf.reduce_mean(logs * logs, [1, 2, 3], keepdims=True)
            normed = logs * tf.math.rsqrt(size + 1e-6)
            parts.append(tf.reshape(normed, [-1, normed.shape[1] * normed.shape[2] * normed.shape[3]]))
        return tf.concat(parts, -1)

    def adapt(self, images: np.ndarray) -> None:
        """Sets the scale of each path to its root mean square over float32 images [n, height, width, channels]."""
        if not self.built:
            self.build(images.shape)
        for transform, scales in zip(self._transforms, self._path_scales, strict=True):
            squares = batched(lambda x, t=transform: tf.reduce_mean(tf.concat(t.parts(x), -1) ** 2, [1, 2]), images)
            ends = np.cumsum([scale.shape[0] for scale in scales])[:-1]
            for scale, part in zip(scales, np.split(squares.mean(0), ends), strict=True):
                scale.assign(np.sqrt(part) + 1e-6)

    def get_config(self) -> dict:
        return {**super().get_config(), "scales": self.scales, "angles": self.angles, "corners": self.corners}


def batched(function, images: np.ndarray, size: int = 250) -> np.ndarray:
    """Applies a function of a float32 batch to float32 images [n, …], n at least 1, some at a time."""
    compiled = tf.function(function)
    return np.concatenate([compiled(images[i : i + size]).numpy() for i in range(0, len(images), size)])
