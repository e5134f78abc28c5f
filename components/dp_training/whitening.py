"""Whitening of features with statistics of random images, so that noisy gradient descent meets a round problem.

DP-SGD adds the same noise in every direction, so directions in which the features vary little learn late or never; to
whiten is to precondition. Statistics of private features would have to be paid for, hence random images.
"""

import numpy as np
import tensorflow as tf

from components.common.legacy_keras import keras


@keras.utils.register_keras_serializable("lockgate")
class Standardize(keras.layers.Layer):
    """Makes mean 0 and variance 1, example by example, over all of x [n, h, w, channels] or, with `each_channel`, over
    the pixels of each channel. It is keras' GroupNormalization without weights, which does not convert to a `.tflite`
    whose batch can be resized.

    The variance of a channel is a product of its pixels with themselves, which int8 sums in 32 bits: squares that are
    rounded one by one lose all but the loudest channels.
    """

    def __init__(self, each_channel: bool = False, epsilon: float = 1e-3, **kwargs):
        super().__init__(**kwargs)
        self.each_channel, self.epsilon = each_channel, epsilon

    def call(self, x: tf.Tensor) -> tf.Tensor:
        axes = [1, 2] if self.each_channel else [1, 2, 3]
        centred = x - tf.reduce_mean(x, axes, keepdims=True)
        variance = _energies(centred) if self.each_channel else tf.reduce_mean(centred * centred, axes, keepdims=True)
        return centred * tf.math.rsqrt(variance + self.epsilon)

    def get_config(self) -> dict:
        return {**super().get_config(), "each_channel": self.each_channel, "epsilon": self.epsilon}


def _energies(x: tf.Tensor) -> tf.Tensor:
    """The mean square of each channel, float32 [n, 1, 1, channels]."""
    height, width, channels = x.shape[1:]
    rows = tf.reshape(tf.transpose(x, [0, 3, 1, 2]), [-1, channels, 1, height * width])
    return tf.reshape(tf.matmul(rows, rows, transpose_b=True) / (height * width), [-1, 1, 1, channels])


def whitening(features: np.ndarray, directions: int, floor: float = 3e-4) -> tuple[np.ndarray, np.ndarray]:
    """The affine map x @ kernel + bias that whitens `features` along their main directions (ZCA without the turn back).

    Args:
        features: float32 [n, d].
        directions: how many principal directions to keep; at most min(n, d).
        floor: added to each variance before its root is taken, as a fraction of the mean squared norm of a row, so that
            directions of little variance are not blown up.

    Returns:
        float32 kernel [d, directions] and bias [directions]; outputs have norm 1 on average.
    """
    centre = features.mean(0)
    unit = np.sqrt(np.mean(np.sum(features**2, 1)))
    variances, turn = _principal((features - centre) / unit, min(directions, *features.shape))
    kernel = turn * (np.maximum(variances, 0.0) + floor) ** -0.5
    kernel /= np.mean(np.linalg.norm((features - centre) @ kernel, axis=1))
    return kernel.astype(np.float32), (-centre @ kernel).astype(np.float32)


def _principal(centred: np.ndarray, directions: int) -> tuple[np.ndarray, np.ndarray]:
    """Variances [k] and directions [d, k] of most variance, by subspace iteration (Halko et al. 2011, arXiv:0909.4061,
    algorithm 4.4): exact eigenvectors of a few thousand dimensions take ten times as long."""
    draw = np.random.default_rng(0)
    width = min(directions + 64, *centred.shape)
    basis = draw.standard_normal((centred.shape[1], width)).astype(np.float32)
    for _ in range(3):
        basis = np.linalg.qr(centred.T @ (centred @ basis))[0]
    inside = centred @ basis
    variances, turn = np.linalg.eigh(inside.T @ inside / len(centred))
    return variances[::-1][:directions], (basis @ turn)[:, ::-1][:, :directions]
