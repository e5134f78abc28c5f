"""Latency of one file beside another, one thread, in turns."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from components.common.tflite import TFLiteModel


@dataclass(frozen=True)
class Interval:
    """A median and its 95 % confidence interval."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Of one invocation on one example. parent, variant: in microseconds; ratio: the variant's over the parent's."""

    parent: Interval
    variant: Interval
    ratio: Interval


def latency(parent: TFLiteModel, variant: TFLiteModel, image: np.ndarray, rounds: int = 12, runs: int = 10) -> Latency:
    """Times two files in rounds of parent, variant, variant, parent, so that a drift of the machine hits both alike.

    Args:
        parent, variant: the files.
        image: float32 [height, width, channels] in [0, 1].
        rounds: at least 6, for an interval of 95 % to exist.
        runs: invocations a turn; a turn counts as its median.
    """
    return in_turns(lambda: parent.latencies(image, runs), lambda: variant.latencies(image, runs), rounds)


def in_turns(parent: Callable[[], np.ndarray], variant: Callable[[], np.ndarray], rounds: int) -> Latency:
    """The same of anything that returns times [runs] when called."""
    turns = np.array([[np.median(time()) for time in (parent, variant, variant, parent)] for _ in range(rounds)])
    parents, variants = turns[:, [0, 3]].mean(1), turns[:, [1, 2]].mean(1)
    return Latency(parent=interval(parents), variant=interval(variants), ratio=interval(variants / parents))


def interval(values: np.ndarray) -> Interval:
    """The median of [n] independent values between two of them: the order statistics whose ranks hold it with
    probability 95 % or more under any distribution (David and Nagaraja 2003, Order Statistics, section 7.1).

    Raises:
        ValueError: fewer than 6 values, of which no two do.
    """
    count = len(values)
    rank = int(binom.ppf(0.025, count, 0.5))  # the largest r with P(B < r) at most 2.5 %
    if rank < 1 or not math.isfinite(float(np.sum(values))):
        raise ValueError(f"`values` must be 6 finite ones or more. Received: {values}")
    ordered = np.sort(values)
    return Interval(float(np.median(values)), float(ordered[rank - 1]), float(ordered[count - rank]))
