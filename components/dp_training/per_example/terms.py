"""The forms that a weight's per-example gradients take: each knows its norms and its clipped sum.

A rule describes a call of a layer by one term a weight, over rows: an example, or one of its augmented copies. Terms
of one weight are merged before any norm is taken, so that a layer used twice, and an example's copies, contribute the
norm of their summed gradient, with all cross terms.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import tensorflow as tf

_SMALL = 20.0  # multiply-adds in the time that a float of a materialised gradient takes to write, square and contract
_IN_CACHE = 32_768  # floats of one gradient; larger ones come from memory, which takes about
_LARGE = 80.0
_FLOAT64 = 2.0  # float32 multiply-adds in the time of one in float64
_POSITIONS = 2**23  # of all examples of a batch, at most
_PAIRS = 64  # positions up to which comparing all pairs of ids is cheaper than sorting them


class Term(Protocol):
    """Per-example gradients of one weight of shape `shape`, n examples."""

    def grouped(self, n: tf.Tensor | int) -> "Term":
        """The term over n examples of which each adds up equally many adjacent rows."""

    def squared_norms(self) -> tf.Tensor:
        """float32 [n]."""

    def weighted_sum(self, weights: tf.Tensor) -> tf.Tensor:
        """float32 `shape`: the sum of the gradients, each times its entry of float32 `weights` [n]."""

    def materialised(self) -> tf.Tensor:
        """float32 [n, *shape]."""


class Direct:
    """Gradients that are already there: float32 [n, *shape]."""

    def __init__(self, gradients: tf.Tensor):
        self._gradients = gradients

    def grouped(self, n):
        return Direct(tf.reduce_sum(_split(self._gradients, n), 1))

    def squared_norms(self):
        flat = _flat(self._gradients)
        return tf.square(tf.math.reduce_euclidean_norm(flat, 1))

    def weighted_sum(self, weights):
        total = tf.matmul(weights[None], _flat(self._gradients))
        return tf.reshape(total, self._gradients.shape[1:])

    def materialised(self):
        return self._gradients


class Outer:
    """Sums over positions of outer products: x^T g.

    Three ways to the norm. One position: |x|²|g|² (Goodfellow 2015, arXiv:1510.01799). Few positions and a large
    weight: the ghost norm, sum over position pairs of (x_p·x_q)(g_p·g_q) (Li et al. 2022, arXiv:2110.05679, section
    4; Bu et al. 2022, arXiv:2205.10683), then one product over the whole batch for the sum. Else the gradient itself,
    which the clip weights contract (Rochette et al. 2019, arXiv:1912.06015).

    Positions may cancel each other, and then rounding, which is relative to the sum over positions of |x_p||g_p|, is
    all that is left of a ghost norm or of the sum. So both are taken in float64, and what it may still round away is
    added to the norm (`_bounded`). The other ways measure the very numbers that they add up.

    Args:
        x: float32 [n, positions, k], or [n, blocks, positions, k] where a weight falls into blocks.
        g: float32 [n, positions, f]; [n, blocks, positions, f], or one block for all.
        shape: of the weight, whose elements in order are [k, f]; [k, blocks, f] or, `blocks_first`, [blocks, k, f].
    """

    def __init__(self, x: tf.Tensor, g: tf.Tensor, shape: Sequence[int], *, blocks_first: bool = False):
        self.x, self.g, self.shape, self.blocks_first = x, g, tuple(shape), blocks_first

    def grouped(self, n):
        return self._like(_side_by_side(self.x, n), _side_by_side(self.g, n))

    def joins(self, other: Term) -> bool:
        """Whether the other's positions can stand beside these."""
        return isinstance(other, Outer) and self._layout == other._layout

    def joined(self, others: Sequence["Outer"]) -> "Outer":
        """One term over the positions of all."""
        every = [self, *others]
        return self._like(tf.concat([t.x for t in every], -2), tf.concat([t.g for t in every], -2))

    def _like(self, x: tf.Tensor, g: tf.Tensor) -> "Outer":
        return Outer(x, g, self.shape, blocks_first=self.blocks_first)

    @property
    def _layout(self) -> tuple:
        return self.blocks_first, self.shape, self._blocks, self.x.shape[-1]

    def squared_norms(self):
        if self.way == "factorised":
            norm = tf.math.reduce_euclidean_norm
            return tf.square(norm(_flat(self.x), 1) * norm(_flat(self.g), 1))
        if self.way == "ghost":
            x, g = tf.cast(self.x, tf.float64), tf.cast(self.g, tf.float64)
            pairs = tf.matmul(x, x, transpose_b=True) * tf.matmul(g, g, transpose_b=True)
            lengths = tf.linalg.diag_part(pairs)
            summands = x.shape[-1] + g.shape[-1] + (self._blocks or 1) * x.shape[-2] ** 2
            return _bounded(tf.reduce_sum(_flat(pairs), 1), tf.reduce_sum(_flat(tf.sqrt(lengths)), 1), summands)
        return tf.square(tf.math.reduce_euclidean_norm(_flat(self._products), 1))

    def weighted_sum(self, weights):
        if self.way == "materialised":
            total = tf.reshape(tf.matmul(weights[None], _flat(self._products)), self._products.shape[1:])
            return self._in_order(total)
        weights = tf.reshape(weights, [-1] + [1] * (self.g.shape.rank - 1))
        x, weighted = (self.x, self.g * weights) if self.way == "factorised" else _in_float64(self.x, self.g, weights)
        if self._blocks is None:
            total = tf.matmul(_rows(x), _rows(weighted), transpose_a=True)
        else:
            total = tf.matmul(_rows_by_block(x), _rows_by_block(weighted), transpose_a=True)
            total = tf.transpose(total, [0, 2, 1]) if self._flipped else total
        total = tf.cast(total, tf.float32)
        return tf.reshape(total, self.shape) if self._blocks is None else self._in_order(total)

    def materialised(self):
        order = [0, *(1 + axis for axis in self._order)]
        return tf.reshape(tf.transpose(self._products, order), [-1, *self.shape])

    @cached_property
    def way(self) -> str:
        """How norms are taken, by shape: "factorised", "ghost" or "materialised"."""
        positions, k, f = self.x.shape[-2], self.x.shape[-1], self.g.shape[-1]
        if positions is None:
            return "materialised"
        if positions == 1 and self._blocks is None:
            return "factorised"
        k *= self._blocks or 1
        traffic = (_SMALL if k * f <= _IN_CACHE else _LARGE) * k * f
        return "ghost" if _FLOAT64 * positions**2 * (k + f + _SMALL) < traffic else "materialised"

    @property
    def _blocks(self) -> int | None:
        return self.x.shape[1] if self.x.shape.rank == 4 else None

    @property
    def _flipped(self) -> bool:
        """Whether products are [f, k]: the batched product is up to twice as fast when it transposes the smaller."""
        return self.g.shape[-1] <= self.x.shape[-1]

    @cached_property
    def _products(self) -> tf.Tensor:
        first, second = (self.g, self.x) if self._flipped else (self.x, self.g)
        return tf.matmul(first, second, transpose_a=True)

    @property
    def _order(self) -> list[int]:
        """The permutation from the axes of a product to those of the weight."""
        if self._blocks is None:
            return [1, 0] if self._flipped else [0, 1]
        if self.blocks_first:
            return [0, 2, 1] if self._flipped else [0, 1, 2]
        return [2, 0, 1] if self._flipped else [1, 0, 2]

    def _in_order(self, total: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tf.transpose(total, self._order), self.shape)


class Rows:
    """Gradients of a table that was looked up: row id_p receives g_p.

    Args:
        ids: int [n, positions]. g: float32 [n, positions, width]. shape: (rows, width) of the table.
    """

    def __init__(self, ids: tf.Tensor, g: tf.Tensor, shape: Sequence[int]):
        self.ids, self.g, self.shape = ids, g, tuple(shape)

    def grouped(self, n):
        return Rows(_split(self.ids, n, merge=True), _side_by_side(self.g, n), self.shape)

    def squared_norms(self):
        """The sum over position pairs with the same id of g_p·g_q, or, for many positions, the norm of each id's sum
        (as tensorflow-privacy's embedding_sqr_norm_fn); in float64 as `Outer`'s ghost norm, and for its reason."""
        g = tf.cast(self.g, tf.float64)
        lengths = tf.reduce_sum(tf.sqrt(tf.reduce_sum(g**2, 2)), 1)
        if self.ids.shape[1] is not None and self.ids.shape[1] <= _PAIRS:
            same = tf.cast(self.ids[:, :, None] == self.ids[:, None, :], tf.float64)
            squared = tf.reduce_sum(same * tf.matmul(g, g, transpose_b=True), [1, 2])
            return _bounded(squared, lengths, self.shape[1] + self.ids.shape[1] ** 2)
        n, rows = tf.shape(self.ids, tf.int64)[0], self.shape[0]
        keys = tf.cast(self.ids, tf.int64) + rows * tf.range(n)[:, None]
        looked_up, position = tf.unique(tf.reshape(keys, [-1]), tf.int64)
        sums = tf.math.unsorted_segment_sum(_rows(g), position, tf.size(looked_up))
        squared = tf.math.unsorted_segment_sum(tf.reduce_sum(sums**2, 1), looked_up // rows, n)
        return _bounded(squared, lengths, _POSITIONS)

    def weighted_sum(self, weights):
        weighted = tf.cast(self.g, tf.float64) * tf.cast(weights, tf.float64)[:, None, None]
        total = tf.math.unsorted_segment_sum(_rows(weighted), tf.reshape(self.ids, [-1]), self.shape[0])
        return tf.cast(total, tf.float32)

    def materialised(self):
        def one(example):
            return tf.math.unsorted_segment_sum(example[1], example[0], self.shape[0])

        return tf.map_fn(one, (self.ids, self.g), fn_output_signature=tf.float32)


def merged(terms: Sequence[Term], n: tf.Tensor | int | None) -> Term:
    """One term from all that fell on one weight.

    Args:
        terms: over equally many rows.
        n: number of examples, or None where each row is an example.
    """
    terms = [term if n is None else term.grouped(n) for term in terms]
    if len(terms) == 1:
        return terms[0]
    if isinstance(terms[0], Outer) and all(terms[0].joins(term) for term in terms):
        return terms[0].joined(terms[1:])
    if all(isinstance(term, Rows) for term in terms):
        return Rows(tf.concat([t.ids for t in terms], 1), tf.concat([t.g for t in terms], 1), terms[0].shape)
    return Direct(tf.add_n([term.materialised() for term in terms]))


def _bounded(squared: tf.Tensor, lengths: tf.Tensor, summands: int) -> tf.Tensor:
    """float32 [n]: squared norms of sums over positions, with what rounding may have taken away.

    A sum of m products in float64 errs by at most m 2⁻⁵³ / (1 - m 2⁻⁵³) times the sum of their sizes (Higham 2002,
    Accuracy and Stability of Numerical Algorithms, section 3.1). So a squared norm errs by m 2⁻⁵² times the square of
    `lengths`, and an example's share of the sum over a batch of up to `_POSITIONS` by that many 2⁻⁵³ times `lengths`.

    Args:
        squared: float64 [n]. lengths: float64 [n], the sum over positions of the norms of what is added up.
        summands: m, of a squared norm.
    """
    squared = tf.maximum(squared, 0.0) + summands * 2.0**-52 * lengths**2
    return tf.cast((tf.sqrt(squared) + _POSITIONS * 2.0**-53 * lengths) ** 2, tf.float32)


def _in_float64(x: tf.Tensor, g: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """x and the weighted g."""
    return tf.cast(x, tf.float64), tf.cast(g, tf.float64) * tf.cast(weights, tf.float64)


def _flat(tensor: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tensor, [-1, int(np.prod(tensor.shape[1:]))])


def _rows(tensor: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tensor, [-1, tensor.shape[-1]])


def _rows_by_block(tensor: tf.Tensor) -> tf.Tensor:
    """[n, blocks, positions, k] as [blocks, n * positions, k]."""
    moved = tf.transpose(tensor, [1, 0, 2, 3])
    return tf.reshape(moved, [tensor.shape[1], -1, tensor.shape[-1]])


def _split(tensor: tf.Tensor, n: tf.Tensor | int, *, merge: bool = False) -> tf.Tensor:
    """[rows, first, ...] as [n, rows / n, first, ...], or merged as [n, rows / n * first, ...]."""
    rest = tf.shape(tensor)[2:] if merge else tf.shape(tensor)[1:]
    return tf.ensure_shape(
        tf.reshape(tensor, tf.concat([[n, -1], rest], 0)), [None, None, *tensor.shape[2 if merge else 1 :]]
    )


def _side_by_side(tensor: tf.Tensor, n: tf.Tensor | int) -> tf.Tensor:
    """[rows, (blocks,) positions, k] as [n, (blocks,) rows / n * positions, k]."""
    if tensor.shape.rank == 3:
        return _split(tensor, n, merge=True)
    blocks, k = tensor.shape[1], tensor.shape[3]
    moved = tf.transpose(_split(tensor, n), [0, 2, 1, 3, 4])
    return tf.reshape(moved, [n, blocks, -1, k])
