"""The search for the smallest file that stays within the target: a scan, plans made from it, and a few real tries."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.common.examples import Split, scaled
from components.common.legacy_keras import keras
from components.common.progress import tell
from components.common.words import kilobytes
from components.gates.core import Paired
from components.search.config import SearchConfig
from components.search.kept import Kept
from components.search.plans import Level, Plan, pareto, plans
from components.search.sensitivity import scan
from components.search.target import Target
from components.search.tries import Bench, Measured, Try

_SCANNED = 500  # images of `validation` that the scan looks at
_SMALLER = 0.95  # of the smallest file within the target: a plan that is expected above it is not worth a try
_GUESSED_COST, _GUESSED_DROP = 0.03, 0.0075  # nats; seen: 0.012 without fine-tuning, 0.004 with it


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search ends with. target: what it aimed at. levels: the scan. tries: in their order. chosen: the smallest
    within the target, or else the one that loses least. file: its `.tflite`."""

    target: Target
    levels: list[Level]
    tries: list[Try]
    chosen: Try
    file: bytes

    def facts(self) -> dict[str, Any]:
        """All of it but the file, for JSON."""
        return {
            "target": dataclasses.asdict(self.target),
            "chosen": self.chosen.plan.key,
            "within": self.chosen.within,
            "pareto": [t.plan.key for t in pareto(self.tries, lambda t: (t.gzip_bytes, t.drop))],
            "tries": [t.facts() for t in self.tries],
            "scan": [dataclasses.asdict(level) for level in self.levels],
        }


def search(
    parent: keras.Model, validation: Split, public: Split, config: SearchConfig, target: Target, folder: Path
) -> Found:
    """Searches.

    Args:
        parent: the float model, unchanged.
        validation: what is measured on. public: what is calibrated on, and fine-tuned if `config` says so.
        config: what may be tried. target: what a try may lose.
        folder: where each finished try is kept; a search that was killed goes on from there to the same answer.

    Raises:
        ModelError: the parent cannot be compressed.
    """
    kept, bench = Kept(folder), Bench(parent, validation, public, config)
    levels = _scanned(kept, parent, validation, config)
    offered, tries = plans(levels), []
    while plan := next_plan(offered, tries, config):
        tries.append(_tried(kept, bench, plan, target))
        tell(f"try {len(tries)} of at most {config.tries}: {_in_words(tries[-1])}")
    chosen = best_of(tries) or least_lossy(tries)
    file = kept.read(f"{chosen.plan.key}.tflite")
    return Found(target=target, levels=levels, tries=tries, chosen=chosen, file=file)


def next_plan(offered: list[Plan], tries: list[Try], config: SearchConfig) -> Plan | None:
    """What to try next: a pure function of what was tried.

    First of the plans that no other one beats in expected bytes and cost, the smallest that is expected to be within
    the target, or else the mildest: none that is expected to cost more than one that failed, or to be hardly smaller
    than what is within the target. Then its neighbours, plans of another kind: the mildest that would be smaller and,
    by what its kind lost, is expected to be within. The last try, where nothing was within the target yet, is the
    mildest plan of all.
    """
    line = pareto(offered, lambda p: (p.bytes, p.cost))
    tried, best = {t.plan.key for t in tries}, best_of(tries)
    if len(tries) >= config.tries:
        return None
    if best is None and len(tries) == config.tries - 1 and line[0].key not in tried:
        return line[0]
    limit = _SMALLER * best.plan.bytes if best else math.inf
    smaller = [p for p in offered if p.key not in tried and p.bytes <= limit]
    failed = [t.plan for t in tries if not t.within]
    allowed = min([config.max_drop, *(t.target for t in tries)])
    if between := [p for p in line if p in smaller and all(p.cost < f.cost for f in failed)]:
        return ([between[0]] + [p for p in between if expected_drop(p, tries) <= allowed])[-1]
    beside = [p for p in smaller if all(p.kind != f.kind or p.cost < f.cost for f in failed)]
    hopeful = [p for p in beside if expected_drop(p, [t for t in tries if t.plan.kind == p.kind]) <= allowed]
    return max(hopeful, key=lambda p: (p.bytes, p.key), default=None)


def expected_drop(plan: Plan, tries: list[Try]) -> float:
    """Proportional to the cost, by least squares through what `tries` cost and lost, and through a guess that stands
    for them before there are any."""
    seen = [(_GUESSED_COST, _GUESSED_DROP), *((t.plan.cost, t.drop) for t in tries)]
    return plan.cost * sum(cost * drop for cost, drop in seen) / sum(cost**2 for cost, _ in seen)


def best_of(tries: list[Try]) -> Try | None:
    """The smallest file within the target; of equally small ones the one that loses least."""
    within = [t for t in tries if t.within]
    return min(within, key=lambda t: (t.gzip_bytes, t.drop), default=None)


def least_lossy(tries: list[Try]) -> Try:
    """The one with the smallest drop; of equally good ones the smallest file."""
    return min(tries, key=lambda t: (t.drop, t.gzip_bytes))


def _scanned(kept: Kept, parent: keras.Model, validation: Split, config: SearchConfig) -> list[Level]:
    found = kept.read("scan.json")
    if found is None:
        keras.utils.set_random_seed(0)
        levels = scan(parent, config, scaled(validation.images[:_SCANNED]))
        kept.write("scan.json", [dataclasses.asdict(level) for level in levels])
        return levels
    return [Level(**fields) for fields in found]


def _tried(kept: Kept, bench: Bench, plan: Plan, target: Target) -> Try:
    """Makes a try, or finds it; its file is kept before its figures, which say that it is finished."""
    found = kept.read(f"{plan.key}.json")
    if found is None:
        made, file = bench.run(plan)
        kept.write(f"{plan.key}.tflite", file)
        kept.write(f"{plan.key}.json", found := dataclasses.asdict(made))
    measured = Measured(**{**found, "seen": Paired(**found["seen"])})
    return Try(plan=plan, measured=measured, target=target.of(measured.seen))


def _in_words(made: Try) -> str:
    accuracy, word = 100 * made.measured.seen.variant_accuracy, "within" if made.within else "outside"
    return f"{made.plan.kind}, {accuracy:.2f} %, {kilobytes(made.gzip_bytes)}, {word} the target"
