"""Plans: which level each kernel gets, so that every byte saved costs the same wherever it is saved."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Level:
    """What one kernel may be. sparsity: 0.0 where it stays dense. clusters: 0 where it is not clustered. bytes: of its
    int8 codes when deflated. cost: what the model suffers for it, at least 0."""

    kernel: str
    sparsity: float
    clusters: int
    bytes: int
    cost: float


@dataclass(frozen=True)
class Plan:
    """A level for every kernel; either all are clustered or none."""

    levels: tuple[Level, ...]

    @property
    def sparsities(self) -> dict[str, float]:
        """By kernel; empty where nothing is pruned."""
        found = {level.kernel: level.sparsity for level in self.levels}
        return found if any(found.values()) else {}

    @property
    def clusters(self) -> dict[str, int]:
        """By kernel; empty where nothing is clustered."""
        return {level.kernel: level.clusters for level in self.levels if level.clusters}

    @property
    def kind(self) -> str:
        """Its stages: `prune+cluster+int8`, or fewer."""
        return "+".join((["prune"] if self.sparsities else []) + (["cluster"] if self.clusters else []) + ["int8"])

    @property
    def bytes(self) -> int:
        """Of all kernels, expected."""
        return sum(level.bytes for level in self.levels)

    @property
    def cost(self) -> float:
        """Of all kernels, expected."""
        return sum(level.cost for level in self.levels)

    @property
    def key(self) -> str:
        """Names the plan by its levels, 16 hexadecimal digits."""
        text = json.dumps([self.sparsities, self.clusters], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def plans(levels: Iterable[Level]) -> list[Plan]:
    """The plans of all kinds of recipe, each kind from mild to hard."""
    levels, found = list(levels), {}
    for pruned, clustered in product((False, True), repeat=2):
        options: dict[str, list[Level]] = {}
        for level in levels:
            if bool(level.clusters) == clustered and (pruned or not level.sparsity):
                options.setdefault(level.kernel, []).append(level)
        for plan in path(list(options.values())):
            found.setdefault(plan.key, plan)
    return list(found.values())


def path(options: list[list[Level]]) -> list[Plan]:
    """The plans that minimise cost + λ bytes for one λ, from λ = 0 upwards.

    The sum is smallest where it is for every kernel (Everett 1963, Operations Research 11:399; Shoham and Gersho 1988,
    IEEE TASSP 36:1445), so that a kernel walks down the lower convex hull of its levels, and the steps of all kernels
    are taken in the order of what each costs a byte.

    Args:
        options: the levels of each kernel.
    """
    hulls = [_hull(levels) for levels in options]
    steps = [
        (_slope(before, after), kernel, position + 1)
        for kernel, hull in enumerate(hulls)
        for position, (before, after) in enumerate(zip(hull, hull[1:], strict=False))
    ]
    now = [hull[0] for hull in hulls]
    found = [Plan(tuple(now))] if now else []
    for _, kernel, position in sorted(steps):
        now[kernel] = hulls[kernel][position]
        found.append(Plan(tuple(now)))
    return found


def pareto(items: Iterable[T], figures: Callable[[T], tuple[float, float]]) -> list[T]:
    """The items that no other one beats in both figures, of which less is better, by the first one from large to
    small; of equal items the first."""
    best, kept = float("inf"), []
    for item in sorted(items, key=figures):
        if figures(item)[1] < best:
            best = figures(item)[1]
            kept.append(item)
    return kept[::-1]


def _hull(levels: list[Level]) -> list[Level]:
    """The lower convex hull of cost over bytes, from the least cost to the fewest bytes."""
    hull = [min(levels, key=lambda level: (level.cost, level.bytes))]
    while smaller := [level for level in levels if level.bytes < hull[-1].bytes]:
        hull.append(min(smaller, key=lambda level: (_slope(hull[-1], level), level.bytes)))
    return hull


def _slope(before: Level, after: Level) -> float:
    return (after.cost - before.cost) / (before.bytes - after.bytes)
