"""The windows that a convolution reads, as rows of a matrix, by gathering whole runs of memory.

`tf.image.extract_patches` copies element by element: on the first layer of the 26k-parameter CNN it took 40 µs an
example on two cores, more than everything else together. A gather of the same windows copies `channels` floats at a
time; where channels are few, a product with a 0/1 matrix first lays out each row's windows, so that the gather copies
`kernel_width * channels` floats at a time (5 µs). The product is exact: each sum has one term that is not 0 · x.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

_RUN = 3.0  # ns that a core takes for one run of a gather, whatever its length
_FLOAT = 0.1  # ns for each float of it
_MULTIPLY_ADD = 0.03  # ns in a matrix product


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
    height, width, channels = images.shape[1:]
    (rows, columns), (kernel_height, kernel_width) = win.positions((height, width)), win.kernel
    if win.kernel == (1, 1) and win.strides == (1, 1):
        return tf.reshape(images, [-1, height * width, channels])
    if _selection_is_cheaper(images.shape[1:], win):
        laid_out = _rows_laid_out(images, win, columns)
        index, run = _index(win, rows, columns, columns, by_row=True), kernel_width * channels
    else:
        laid_out = tf.pad(images, [[0, 0], *zip(win.before, win.after, strict=True), [0, 0]])
        index, run = _index(win, rows, columns, laid_out.shape[2], by_row=False), channels
    runs = tf.reshape(laid_out, [-1, int(np.prod(laid_out.shape[1:])) // run, run])
    return tf.reshape(tf.gather(runs, index, axis=1), [-1, rows * columns, kernel_height * kernel_width * channels])


def _selection_is_cheaper(shape: tuple[int, int, int], win: Window) -> bool:
    """Compares estimated times of the two ways for images of `shape` (height, width, channels)."""
    height, width, channels = shape
    (rows, columns), (kernel_height, kernel_width) = win.positions((height, width)), win.kernel
    runs, floats = rows * columns * kernel_height, rows * columns * kernel_height * kernel_width * channels
    products = height * width * channels * columns * kernel_width * channels
    by_pixel = runs * kernel_width * _RUN + floats * _FLOAT
    by_row = runs * _RUN + floats * _FLOAT + products * _MULTIPLY_ADD
    return by_row < by_pixel


def _rows_laid_out(images: tf.Tensor, win: Window, columns: int) -> tf.Tensor:
    """[n, padded height, columns, kernel_width * channels]: every row's windows, by a product with a 0/1 matrix."""
    height, width, channels = images.shape[1:]
    chosen = np.zeros((width, channels, columns, win.kernel[1], channels), np.float32)
    for j in range(columns):
        for b in range(win.kernel[1]):
            source = j * win.strides[1] + b * win.dilation[1] - win.before[1]
            if 0 <= source < width:
                chosen[source, range(channels), j, b, range(channels)] = 1.0
    flat = tf.pad(tf.reshape(images, [-1, height, width * channels]), [[0, 0], [win.before[0], win.after[0]], [0, 0]])
    product = tf.matmul(tf.reshape(flat, [-1, width * channels]), chosen.reshape(width * channels, -1))
    return tf.reshape(product, [-1, flat.shape[1], columns, win.kernel[1] * channels])


def _index(win: Window, rows: int, columns: int, row_length: int, *, by_row: bool) -> np.ndarray:
    """int32 [positions, runs a position]: which run of a padded image each window reads, in the kernel's order."""
    top = np.arange(rows)[:, None] * win.strides[0] + np.arange(win.kernel[0]) * win.dilation[0]
    if by_row:
        index = top[:, None, :] * row_length + np.arange(columns)[None, :, None]
    else:
        left = np.arange(columns)[:, None] * win.strides[1] + np.arange(win.kernel[1]) * win.dilation[1]
        index = top[:, None, :, None] * row_length + left[None, :, None, :]
    return index.reshape(rows * columns, -1).astype(np.int32)
