"""The windows that a convolution reads, as rows of a matrix, by gathering whole runs of memory.

`tf.image.extract_patches` copies element by element: on the first layer of the 26k-parameter CNN it took 40 µs an
example on two cores, more than everything else together. A gather of the same windows copies `channels` floats at a
time. Where channels are few, a product with a 0/1 matrix first lays out the windows of each line of the image, and the
gather copies whole lines (3 µs). That product is exact: each of its sums has one term that is not 0 · x.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

_RUN = 3.0  # ns that a core takes for one run of a gather, whatever its length; its floats cost the same either way
_MULTIPLY_ADD = 0.03  # ns that it takes in a matrix product


@dataclass(frozen=True, kw_only=True)
class Window:
    """Geometry of a two-dimensional convolution; (height, width) each.

    before, after: rows and columns of zeros that padding adds.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilation: tuple[int, int]
    before: tuple[int, int]
    after: tuple[int, int]

    def positions(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the output for an image of `size` (height, width) in pixels."""
        return tuple(
            (s + b + a - (k - 1) * d - 1) // stride + 1
            for s, b, a, k, d, stride in zip(
                size, self.before, self.after, self.kernel, self.dilation, self.strides, strict=True
            )
        )


def window(size, kernel, strides, dilation, padding: str) -> Window:
    """The window of a layer on images of `size`. All (height, width); padding is "valid", "same" or "causal" (zeros
    before the last axis only, as Conv1D has it)."""
    before, after = [], []
    for s, k, stride, d in zip(size, kernel, strides, dilation, strict=True):
        reach = (k - 1) * d
        total = max((-(-s // stride) - 1) * stride + reach + 1 - s, 0) if padding == "same" else 0
        total = reach if padding == "causal" else total
        before.append(total if padding == "causal" else total // 2)
        after.append(total - before[-1])
    return Window(
        kernel=tuple(kernel), strides=tuple(strides), dilation=tuple(dilation), before=tuple(before), after=tuple(after)
    )


def patches(images: tf.Tensor, win: Window) -> tf.Tensor:
    """Lays out what each output position reads.

    Args:
        images: float32 [n, height, width, channels], all but n static.
        win: the geometry.

    Returns:
        float32 [n, positions, kernel_height * kernel_width * channels], in the order of a Keras kernel.
    """
    rows, columns = win.positions(images.shape[1:3])
    depth = win.kernel[0] * win.kernel[1] * images.shape[3]
    if win.kernel == (1, 1) and win.strides == (1, 1):
        return tf.reshape(images, [-1, rows * columns, depth])
    padded = tf.pad(images, [[0, 0], *zip(win.before, win.after, strict=True), [0, 0]])
    top = np.arange(rows)[:, None] * win.strides[0] + np.arange(win.kernel[0]) * win.dilation[0]
    left = np.arange(columns)[:, None] * win.strides[1] + np.arange(win.kernel[1]) * win.dilation[1]
    index = top[:, None, :, None] * padded.shape[2] + left[None, :, None, :]
    pixels = tf.reshape(padded, [-1, padded.shape[1] * padded.shape[2], images.shape[3]])
    read = tf.gather(pixels, index.reshape(rows * columns, -1).astype(np.int32), axis=1)
    return tf.reshape(read, [-1, rows * columns, depth])


def strips(images: tf.Tensor, win: Window) -> tf.Tensor:
    """The same, strip by strip of the kernel: its first rows, the next ones, and so on.

    Returns:
        float32 [n, strips, positions, kernel_height / strips * kernel_width * channels].
    """
    rows, columns = win.positions(images.shape[1:3])
    height = _strip_height(win)
    first = np.arange(rows) * (win.strides[0] // height)
    index = first + np.arange(win.kernel[0] // height)[:, None] * win.dilation[0]
    read = tf.gather(_lines(images, win, columns), index.astype(np.int32), axis=1)
    return tf.reshape(read, [-1, len(index), rows * columns, height * win.kernel[1] * images.shape[3]])


def strips_are_cheaper(images: tf.Tensor, win: Window) -> bool:
    """Compares estimates of the time that `strips` and `patches` take."""
    (rows, columns), height = win.positions(images.shape[1:3]), _strip_height(win)
    _, total, width, channels = images.shape
    runs = rows * win.kernel[0] // height
    products = total // height * columns * width * win.kernel[1] * (height * channels) ** 2
    return products * _MULTIPLY_ADD + runs * _RUN < rows * columns * win.kernel[0] * win.kernel[1] * _RUN


def _strip_height(win: Window) -> int:
    """Rows of a strip: as many as windows move down by, if that divides the kernel; then none is laid out twice."""
    fits = win.dilation[0] == 1 and win.kernel[0] % win.strides[0] == 0
    return win.strides[0] if fits else 1


def _lines(images: tf.Tensor, win: Window, columns: int) -> tf.Tensor:
    """[n, lines, columns * strip height * kernel width * channels]: what all windows read of each line, which is as
    many rows as a strip has, by a product with a 0/1 matrix."""
    _, rows, width, channels = images.shape
    height, kernel_width = _strip_height(win), win.kernel[1]
    chosen = np.zeros((height, width, channels, columns, height, kernel_width, channels), np.float32)
    for a, j, b in np.ndindex(height, columns, kernel_width):
        source = j * win.strides[1] + b * win.dilation[1] - win.before[1]
        if 0 <= source < width:
            chosen[a, source, range(channels), j, a, b, range(channels)] = 1.0
    count = (rows + win.before[0] + win.after[0]) // height
    flat = tf.pad(tf.reshape(images, [-1, rows, width * channels]), [[0, 0], [win.before[0], win.after[0]], [0, 0]])
    flat = tf.reshape(flat[:, : count * height], [-1, height * width * channels])
    return tf.reshape(tf.matmul(flat, chosen.reshape(flat.shape[1], -1)), [-1, count, chosen[0, 0, 0].size])
