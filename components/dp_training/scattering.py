"""Scattering: fixed Morlet wavelets, modulus and averaging, as a Keras layer of convolutions that converts to TFLite.

The transform is that of Oyallon and Mallat 2015 (arXiv:1412.8659) with the filters, the reflect padding and the order
of outputs of kymatio's Scattering2D (arXiv:1812.11214). kymatio multiplies spectra; here each filter is taken back to
space once, in numpy, cut to the window that holds all but `_CUT` of its mass, and applied as a strided convolution with
periodic padding, which is the same sum. Nothing is learned and nothing is read from data, so the layer costs no
privacy; why it helps under differential privacy: Tramèr and Boneh 2021 (arXiv:2011.11660).
"""

import numpy as np
import tensorflow as tf

from components.common.legacy_keras import keras

_CUT = 1e-4  # fraction of a filter's absolute mass that the window may lose
_TINY = 1e-12  # under the square root of the modulus, whose slope at zero is infinite


@keras.utils.register_keras_serializable("lockgate")
class Scattering2D(keras.layers.Layer):
    """Scattering coefficients of each channel of each image.

    Takes float32 [n, height, width, channels]; returns float32 [n, h, w, channels * paths] with
    h = (height + 2**J) // 2**J - 1, likewise w, and paths = 1 + J L + L² J (J - 1) / 2 for J scales and L angles at
    order 2, the paths of one channel side by side in kymatio's order.

    Args:
        scales: J, octaves of wavelets; the output is averaged over, and strided by, 2**J pixels.
        angles: L, orientations in [0, π).
        max_order: 1 or 2 wavelet layers.
        corners: 0 for the modulus as it is. From 2 on, circles become polygons with that many corners in 45 degrees: 4
            err by 0.5 % at most, and in int8, where squares of what is small vanish, they err far less than the root of
            a sum of squares.

    Raises:
        ValueError: an argument is out of range, or an image is not larger than 2**J pixels.
    """

    def __init__(self, scales: int = 2, angles: int = 8, max_order: int = 2, corners: int = 0, **kwargs):
        super().__init__(trainable=False, **{k: v for k, v in kwargs.items() if k != "trainable"})
        for name, value, allowed in (("scales", scales, range(1, 9)), ("angles", angles, range(1, 65))):
            if value not in allowed:
                raise ValueError(f"`{name}` must be in [{allowed[0]}, {allowed[-1]}]. Received: {name}={value!r}")
        if max_order not in (1, 2):
            raise ValueError(f"`max_order` must be 1 or 2. Received: max_order={max_order!r}")
        if corners != 0 and corners not in range(2, 33):
            raise ValueError(f"`corners` must be 0 or in [2, 32]. Received: corners={corners!r}")
        self.scales, self.angles, self.max_order, self.corners = scales, angles, max_order, corners

    def build(self, input_shape) -> None:
        height, width = input_shape[1:3]
        least = 2**self.scales + 1  # or the reflected margin would be as wide as the image
        if min(height, width) < least:
            raise ValueError(f"images must be at least {least} pixels wide and high. Received: {height}x{width}")
        padded = [_padded(size, self.scales) for size in (height, width)]
        self._margins = [((p - s) // 2, (p - s + 1) // 2) for p, s in zip(padded, (height, width), strict=True)]
        self._low, self._wavelets = filter_bank(*padded, self.scales, self.angles)
        super().build(input_shape)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return _batch_to_channels(tf.concat(self._parts(images), -1), images.shape[-1])

    def parts(self, images: tf.Tensor) -> list[tf.Tensor]:
        """The same coefficients, not yet in one tensor but one for the plain average, and one for each order and scale
        of the first wavelet: in int8 each then has a range of its own. Float32 [n, h, w, channels * paths]."""
        return [_batch_to_channels(part, images.shape[-1]) for part in self._parts(images)]

    def _parts(self, images: tf.Tensor) -> list[tf.Tensor]:
        """The parts, in kymatio's order, with the images' channels among the batch."""
        x = tf.pad(images, [[0, 0], *self._margins, [0, 0]], mode="REFLECT")
        x = _channels_to_batch(x)
        orders = [[self._average(x, 0)], [], []]
        for j in range(self.scales):
            first = self._modulus(x, self._wavelets[j][0], 2**j)
            orders[1].append(self._average(first, j))
            if self.max_order == 2 and j + 1 < self.scales:
                orders[2].append(self._second_order(first, j))
        return [part for order in orders for part in order]

    def _second_order(self, first: tf.Tensor, j: int) -> tf.Tensor:
        """From |x * ψ_j| [n, h, w, angles], all coefficients of paths that start at scale j."""
        x = _channels_to_batch(first)
        later = range(j + 1, self.scales)
        parts = [self._average(self._modulus(x, self._wavelets[k][j], 2 ** (k - j)), k) for k in later]
        return _batch_to_channels(tf.concat(parts, -1), self.angles)

    def _average(self, x: tf.Tensor, j: int) -> tf.Tensor:
        """Low-passes every channel of x, which lies on the grid of scale j, down to the output grid without its rim."""
        channels = x.shape[-1]
        averaged = _convolve(_channels_to_batch(x), self._low[j], 2 ** (self.scales - j))
        return _batch_to_channels(averaged[:, 1:-1, 1:-1, :], channels)

    def _modulus(self, x: tf.Tensor, wavelets: np.ndarray, stride: int) -> tf.Tensor:
        """|x * ψ| for x [n, h, w, 1] and all angles: [n, h / stride, w / stride, angles]."""
        if self.corners:
            return _polygonal(
                *tf.split(tf.abs(_convolve(x, _scale(self.corners) * wavelets, stride)), 2, -1), self.corners
            )
        real, imaginary = tf.split(_convolve(x, wavelets, stride), 2, -1)
        return tf.sqrt(real * real + imaginary * imaginary + _TINY)

    def get_config(self) -> dict:
        own = {"scales": self.scales, "angles": self.angles, "max_order": self.max_order, "corners": self.corners}
        return {**super().get_config(), **own}


def filter_bank(height: int, width: int, scales: int, angles: int) -> tuple[list, list]:
    """kymatio's filters for images of `height` x `width` pixels, in space.

    Returns:
        The low-pass filter on the grid of each scale j, a float32 kernel [h, w, 1, 1]; and for each scale k the
        wavelets of all angles on the grid of each scale j <= k, float32 kernels [h, w, 1, 2 * angles], real parts
        first.
    """
    averages = _gabor(height, width, 0.8 * 2 ** (scales - 1), 0.0, 0.0, 1.0)
    low = [_kernel([_on_grid(averages, j)]) for j in range(scales)]
    wavelets = []
    for k in range(scales):
        turned = [(int(angles - angles / 2 - 1) - a) * np.pi / angles for a in range(angles)]
        waves = [_morlet(height, width, 0.8 * 2**k, t, 0.75 * np.pi / 2**k, 4.0 / angles) for t in turned]
        grids = []
        for j in range(min(k + 1, max(scales - 1, 1))):
            coarse = [_on_grid(wave, j) for wave in waves]
            grids.append(_kernel([c.real for c in coarse] + [c.imag for c in coarse]))
        wavelets.append(grids)
    return low, wavelets


def _padded(size: int, scales: int) -> int:
    return ((size + 2**scales) // 2**scales + 1) * 2**scales


def _gabor(height: int, width: int, sigma: float, theta: float, frequency: float, slant: float) -> np.ndarray:
    """A Gaussian envelope times a plane wave, complex128 [height, width], periodic, with its origin at [0, 0]."""
    turn = np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
    curve = turn @ np.diag([1.0, slant**2]) @ turn.T / (2 * sigma**2)
    total = np.zeros((height, width), np.complex128)
    for row in range(-2, 3):
        for column in range(-2, 3):
            y, x = np.mgrid[row * height : (row + 1) * height, column * width : (column + 1) * width]
            envelope = curve[0, 0] * y * y + 2 * curve[0, 1] * x * y + curve[1, 1] * x * x
            total += np.exp(-envelope + 1j * frequency * (y * np.cos(theta) + x * np.sin(theta)))
    return total * slant / (2 * np.pi * sigma**2)


def _morlet(height: int, width: int, sigma: float, theta: float, frequency: float, slant: float) -> np.ndarray:
    """A Gabor filter made to average zero, complex128 [height, width]."""
    wave = _gabor(height, width, sigma, theta, frequency, slant)
    envelope = _gabor(height, width, sigma, theta, 0.0, slant)
    return wave - wave.sum() / envelope.sum() * envelope


def _on_grid(kernel: np.ndarray, j: int) -> np.ndarray:
    """The filter for images strided by 2**j: its spectrum without what the coarse grid cannot hold, folded."""
    spectrum = np.fft.fft2(kernel).real
    for axis in (0, 1):
        size = kernel.shape[axis]
        start, length = int(size * 2.0 ** (-j - 1)), int(size * (1 - 2.0**-j))
        spectrum[(slice(None),) * axis + (slice(start, start + length),)] = 0.0
    height, width = (size // 2**j for size in kernel.shape)
    return np.fft.ifft2(spectrum.reshape(2**j, height, 2**j, width).sum((0, 2)))


def _kernel(filters: list[np.ndarray]) -> np.ndarray:
    """Real periodic filters [height, width], origin at [0, 0], as a kernel [h, w, 1, filters] that tf.nn.conv2d, which
    correlates, applies as a convolution; cut to the smallest centred window of odd size that loses under `_CUT`."""
    stacked = np.stack([np.roll(f[::-1, ::-1].real, 1, (0, 1)) for f in filters], -1)
    sizes = stacked.shape[:2]
    centred = np.roll(stacked, [s // 2 for s in sizes], (0, 1))
    mass = np.abs(centred).sum(-1) / np.abs(centred).sum()
    half = 1
    while half < max(sizes) // 2 and 1 - _window(mass, half).sum() > _CUT:
        half += 1
    cut = _window(centred, half)
    return cut[:, :, None, :].astype(np.float32)


def _window(array: np.ndarray, half: int) -> np.ndarray:
    """Rows and columns within `half` of the centre; one less after it where the array's even size has no more."""
    rows, columns = (slice(max(0, s // 2 - half), s // 2 + half + 1) for s in array.shape[:2])
    return array[rows, columns]


def _convolve(x: tf.Tensor, kernel: np.ndarray, stride: int) -> tf.Tensor:
    """Periodic convolution of x [n, h, w, 1] at every `stride`-th pixel."""
    for axis in (1, 2):
        size, extent = x.shape[axis], kernel.shape[axis - 1]
        before, after = extent // 2, extent - 1 - extent // 2
        x = tf.gather(x, np.arange(-before, size + after) % size, axis=axis)
    return tf.nn.conv2d(x, tf.constant(kernel), stride, "VALID")


def _scale(corners: int) -> np.float32:
    """By which a polygon is enlarged so that it errs upwards as far as downwards."""
    return np.float32(2 / (1 + np.cos(np.pi / 8 / (corners - 1))))


def _polygonal(real: tf.Tensor, imaginary: tf.Tensor, corners: int) -> tf.Tensor:
    """The modulus of complex numbers with parts that are not negative, as the largest of their projections on `corners`
    directions of the octant into which they are mirrored."""
    longer, shorter = tf.maximum(real, imaginary), tf.minimum(real, imaginary)
    largest = longer
    for direction in np.linspace(0, np.pi / 4, corners)[1:]:
        largest = tf.maximum(largest, np.cos(direction) * longer + np.sin(direction) * shorter)
    return largest


def _channels_to_batch(x: tf.Tensor) -> tf.Tensor:
    """[n, h, w, c] to [n * c, h, w, 1]."""
    height, width, channels = x.shape[1:]
    if channels == 1:
        return x
    return tf.reshape(tf.transpose(x, [0, 3, 1, 2]), [-1, height, width, 1])


def _batch_to_channels(x: tf.Tensor, channels: int) -> tf.Tensor:
    """[n * channels, h, w, paths] to [n, h, w, channels * paths]."""
    height, width, paths = x.shape[1:]
    if channels == 1:
        return x
    split = tf.reshape(x, [-1, channels, height, width, paths])
    return tf.reshape(tf.transpose(split, [0, 2, 3, 1, 4]), [-1, height, width, channels * paths])
