"""What a stage holds weights to, and training that keeps it held.

A projection takes a kernel to the nearest one that has zeros where it must, few distinct values, or values that int8
can tell apart. Training sees the projected weights and moves the ones behind them (straight-through estimator,
Courbariaux et al. 2015, arXiv:1511.00363, algorithm 1), so that what a stage promised holds after every step, in any
model, whichever other projections hold the same kernel. TFMOT's wrappers hold one promise each, refuse nested models
and shared layers, and lose an earlier promise in their own combinations (TFMOT issues 979 and 1056), so they are not
used to train; its schedules, masks and centroids are.
"""

import contextlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

_SETTLED = 0.6  # of training, after which centroids stay: later Lloyd's moves them where no small step can follow
_INT8 = 127.0  # codes of a weight are in [-127, 127], TFLite's quantization specification


class Projection:
    """Takes a kernel to the nearest one that keeps a promise. variables: what it chose so far, to be saved with the
    weights."""

    variables: tuple[tf.Variable, ...] = ()

    def update(self, latent: np.ndarray, progress: float) -> None:
        """Looks at the float32 weights behind; progress: the part of training that is done, in [0, 1]."""

    def __call__(self, latent: tf.Tensor) -> tf.Tensor:
        """The projected weights, of the same shape and dtype."""
        raise NotImplementedError

    def passed(self, gradient: tf.Tensor) -> tf.Tensor:
        """What of a gradient at the projected weights reaches those behind."""
        return gradient


class Mask(Projection):
    """Holds at zero what its mask says. No gradient reaches that: what grows unseen disturbs the others' steps."""

    _mask: tf.Tensor | tf.Variable  # float32 of the kernel's shape, 0 or 1

    def __call__(self, latent: tf.Tensor) -> tf.Tensor:
        return latent * self._mask

    def passed(self, gradient: tf.Tensor) -> tf.Tensor:
        return gradient * self._mask


class FixedZeros(Mask):
    """Holds the zeros that a kernel has."""

    def __init__(self, kernel: np.ndarray):
        self._mask = tf.constant((kernel != 0).astype(np.float32))


class Centroids(Projection):
    """Holds at most so many distinct values in a kernel, or in each output channel of it; zeros are one of them and
    stay. Each weight takes the nearest centroid, and centroids follow the mean of their weights (Lloyd 1982) for the
    first part of training.

    Args:
        starts: float32 [channels, k], ascending, of one channel where all share the centroids.
        channel_axis: of the output channels in the kernel.
    """

    def __init__(self, starts: np.ndarray, channel_axis: int):
        self._centroids = tf.Variable(starts, trainable=False)
        self.variables = (self._centroids,)
        self._axis = channel_axis

    def update(self, latent: np.ndarray, progress: float) -> None:
        """One iteration of Lloyd's."""
        if progress > _SETTLED:
            return
        rows = self._rows(latent)
        moved = [lloyd(row[row != 0], c, 1) for row, c in zip(rows, self._centroids.numpy(), strict=True)]
        self._centroids.assign(np.stack(moved))

    def __call__(self, latent: tf.Tensor) -> tf.Tensor:
        middles = (self._centroids[:, 1:] + self._centroids[:, :-1]) / 2
        front = tf.experimental.numpy.moveaxis(latent, self._axis, 0)
        rows = tf.reshape(front, [self._centroids.shape[0], -1])
        nearest = tf.gather(self._centroids, tf.searchsorted(middles, rows), batch_dims=1)
        values = tf.where(rows == 0, 0.0, nearest)
        return tf.experimental.numpy.moveaxis(tf.reshape(values, front.shape), 0, self._axis)

    def _rows(self, latent: np.ndarray) -> np.ndarray:
        return np.moveaxis(latent, self._axis, 0).reshape(self._centroids.shape[0], -1)


class Int8Grid(Projection):
    """Holds a kernel to what its int8 codes stand for: symmetric, with one scale an output channel or one in all
    (TFLite's 8-bit quantization specification).

    Args:
        rank: of the kernel. channel_axes: of the output channels, two of a depthwise kernel; none for one scale.
    """

    def __init__(self, rank: int, *channel_axes: int):
        self._axes = [axis for axis in range(rank) if axis not in channel_axes]

    def __call__(self, latent: tf.Tensor) -> tf.Tensor:
        scale = tf.reduce_max(tf.abs(latent), self._axes, keepdims=True) / _INT8
        return tf.round(tf.math.divide_no_nan(latent, scale)) * scale


class Held:
    """The kernels of a model that are held, each to its projections in turn.

    Args:
        projections: (kernel variable, projections) pairs.
    """

    def __init__(self, projections: list[tuple[tf.Variable, list[Projection]]]):
        self._projections = projections

    def update(self, progress: float) -> None:
        """Lets every projection look at the weights that come out of the one before."""
        for variable, projections in self._projections:
            latent = variable.numpy()
            for number, projection in enumerate(projections, 1):
                projection.update(latent, progress)
                if number < len(projections):
                    latent = projection(tf.constant(latent)).numpy()

    @property
    def variables(self) -> list[tf.Variable]:
        """What the projections chose so far: with it and the weights behind, training can go on."""
        return [v for _, projections in self._projections for projection in projections for v in projection.variables]

    @contextlib.contextmanager
    def projected(self) -> Iterator[None]:
        """Puts the projected weights in place, and at the end, however it comes, those behind them back."""
        latents = [tf.identity(variable) for variable, _ in self._projections]
        try:
            self._project()
            yield
        finally:
            for (variable, _), latent in zip(self._projections, latents, strict=True):
                variable.assign(latent)

    def passed(self, gradients: list[tf.Tensor], variables: list[tf.Variable]) -> list[tf.Tensor]:
        """What of the gradients at the projected weights reaches the `variables` behind; None stays None."""
        passed = {variable.ref(): gradient for variable, gradient in zip(variables, gradients, strict=True)}
        for variable, projections in self._projections:
            for projection in projections:
                if passed.get(variable.ref()) is not None:
                    passed[variable.ref()] = projection.passed(passed[variable.ref()])
        return [passed[variable.ref()] for variable in variables]

    def settle(self) -> None:
        """Leaves the projected weights in the model for good."""
        self.update(1.0)
        self._project()

    def _project(self) -> None:
        for variable, projections in self._projections:
            projected = tf.identity(variable)
            for projection in projections:
                projected = projection(projected)
            variable.assign(projected)


def lloyd(values: np.ndarray, centroids: np.ndarray, iterations: int) -> np.ndarray:
    """Moves ascending centroids, float32 [k], to the means of the values [n] that are nearest to each; one without
    values stays."""
    for _ in range(iterations):
        nearest = np.searchsorted((centroids[1:] + centroids[:-1]) / 2, values)
        counts = np.bincount(nearest, minlength=len(centroids))
        sums = np.bincount(nearest, weights=values, minlength=len(centroids))
        moved = np.sort(np.where(counts > 0, sums / np.maximum(counts, 1), centroids)).astype(np.float32)
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return centroids
