"""The gate's arithmetic: from a measurement to a verdict with reasons. Pure functions; what is missing never passes."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from scipy.stats import norm

from components.common.words import number
from components.gates.config import GatesConfig

PASS, FAIL, INCONCLUSIVE = "pass", "fail", "inconclusive"
_MIN_SLICE = 100
_SLICE_ALPHA = 0.05


@dataclass(frozen=True, kw_only=True)
class Paired:
    """How two models did on the same examples: counts of both right, only one right, neither right."""

    both: int
    parent_only: int
    variant_only: int
    neither: int

    @property
    def total(self) -> int:
        """Number of examples."""
        return self.both + self.parent_only + self.variant_only + self.neither

    @property
    def parent_accuracy(self) -> float:
        """Fraction of examples that the parent has right; NaN without examples."""
        return (self.both + self.parent_only) / self.total if self.total else math.nan

    @property
    def variant_accuracy(self) -> float:
        """Fraction of examples that the variant has right; NaN without examples."""
        return (self.both + self.variant_only) / self.total if self.total else math.nan

    @property
    def drop(self) -> float:
        """Parent's accuracy less the variant's; NaN without examples."""
        return self.parent_accuracy - self.variant_accuracy


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What was observed of one variant on `holdout`.

    overall, classes: accuracy, paired with the parent's. bytes: of the `.tflite`. latency_ratio: median latency over
    the parent's. broken: what the recipe's stages promised of the file and the file does not hold, a sentence each.
    evaluator: whether TFMA's Evaluator blessed the parent, None if it did not say.
    epsilon: of the parent's statement, None without one.
    """

    overall: Paired
    classes: dict[str, Paired]
    bytes: int
    latency_ratio: float
    broken: tuple[str, ...]
    evaluator: bool | None
    epsilon: float | None


@dataclass(frozen=True)
class Check:
    """One gate's answer. gate: its name. code: a stable word for programs. sentence: for people."""

    gate: str
    verdict: str
    code: str
    sentence: str


def judge(measured: Measurement, config: GatesConfig, competitors: int, max_epsilon: float) -> tuple[str, list[Check]]:
    """Judges one variant.

    Args:
        measured: the observation.
        config: the thresholds.
        competitors: number of variants that compete for one push; alpha is shared among them (Bonferroni).
        max_epsilon: the largest ε that may be pushed.

    Returns:
        The verdict (the worst of all checks) and the checks.
    """
    checks = [
        _drop_check("accuracy", "all classes", measured.overall, config.max_drop, config.alpha / competitors),
        _slices(measured.classes, config.slice_max_drop),
        _at_least("floor", "accuracy", measured.overall.variant_accuracy, config.min_accuracy),
        _at_most("size", "size in bytes", measured.bytes, config.max_bytes),
        _at_most("latency", "latency over the parent's", measured.latency_ratio, config.max_latency_ratio),
        _structure(measured.broken),
        _evaluator(measured.evaluator),
        _privacy(measured.epsilon, max_epsilon),
    ]
    return worst(c.verdict for c in checks), checks


def worst(verdicts: Iterable[str]) -> str:
    """`fail` before `inconclusive` before `pass`; nothing at all is `inconclusive`."""
    seen = set(verdicts)
    return next((v for v in (FAIL, INCONCLUSIVE) if v in seen), PASS if seen else INCONCLUSIVE)


def drop_bound(paired: Paired, alpha: float) -> float:
    """Upper one-sided confidence bound of the drop, by Tango's score interval for paired proportions.

    The bound is the d at which Z(d) = -z(1 - alpha), with Z(d) = (b - c - n d) / sqrt(n (2 q + d (1 - d))), where b
    and c count the examples that only the parent and only the variant has right and q is the maximum likelihood
    estimate of the latter's probability under a drop of d (Tango 1998, Statistics in Medicine 17:891, eq. 7-10).

    Args:
        paired: counts, of at least one example.
        alpha: probability, in (0, 0.5), that the true drop is above the bound.
    """
    n, b, c, z = paired.total, paired.parent_only, paired.variant_only, norm.ppf(1 - alpha)

    def below(d: float) -> bool:
        linear = -b - c + (2 * n - b + c) * d
        q = (math.sqrt(max(0.0, linear**2 + 8 * n * c * d * (1 - d))) - linear) / (4 * n)
        variance = n * (2 * q + d * (1 - d))
        return variance <= 0 or (b - c - n * d) / math.sqrt(variance) > -z

    low, high = paired.drop, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return high


def _drop_check(gate: str, where: str, paired: Paired, margin: float, alpha: float) -> Check:
    if not paired.total:
        return Check(gate, INCONCLUSIVE, "no_examples", f"There are no holdout examples of {where}.")
    bound, lower = drop_bound(paired, alpha), -drop_bound(_swapped(paired), alpha)
    figures = (
        f"The drop on {where} is {100 * paired.drop:.2f} points on {number(paired.total)} examples, at most "
        f"{100 * bound:.2f} with confidence {number(100 * (1 - alpha))} %; allowed are {number(100 * margin)}."
    )
    if bound < margin:
        return Check(gate, PASS, "drop_within_margin", figures)
    if lower > margin:
        return Check(gate, FAIL, "drop_above_margin", figures)
    return Check(gate, INCONCLUSIVE, "drop_undecided", figures)


def _slices(classes: dict[str, Paired], margin: float) -> Check:
    """All classes must pass on their own; the worst one speaks for them."""
    if not classes:
        return Check("slices", INCONCLUSIVE, "no_slices", "No class was measured.")
    small = [name for name, paired in classes.items() if paired.total < _MIN_SLICE]
    if small:
        sentence = f"Class {small[0]} has fewer than {_MIN_SLICE} holdout examples, too few to decide anything."
        return Check("slices", INCONCLUSIVE, "slice_too_small", sentence)
    checks = [
        (drop_bound(paired, _SLICE_ALPHA), _drop_check("slices", f"class {name}", paired, margin, _SLICE_ALPHA))
        for name, paired in classes.items()
    ]
    verdict = worst(check.verdict for _, check in checks)
    return max((c for c in checks if c[1].verdict == verdict), key=lambda c: c[0])[1]


def _at_least(gate: str, what: str, value: float, floor: float) -> Check:
    good = value >= floor
    word = "not below" if good else "below"
    sentence = f"The {what} is {value:.4f}, {word} the floor of {number(floor)}."
    return Check(gate, PASS if good else FAIL, f"{what}_{word.replace(' ', '_')}_floor", sentence)


def _at_most(gate: str, what: str, value: float, ceiling: float) -> Check:
    good = value <= ceiling
    sentence = f"The {what} is {number(value)}; allowed are {number(ceiling)}."
    return Check(gate, PASS if good else FAIL, f"{gate}_{'within' if good else 'above'}_limit", sentence)


def _structure(broken: tuple[str, ...]) -> Check:
    if broken:
        return Check("structure", FAIL, "promise_broken", f"A promise is not kept: {'; '.join(broken)}.")
    return Check("structure", PASS, "promise_kept", "The file holds what the recipe promised.")


def _evaluator(blessed: bool | None) -> Check:
    verdict = {True: PASS, False: FAIL, None: INCONCLUSIVE}[blessed]
    says = {True: "blessed", False: "did not bless", None: "said nothing of"}[blessed]
    return Check("evaluator", verdict, f"evaluator_{verdict}", f"TFMA's Evaluator {says} the parent.")


def _privacy(epsilon: float | None, ceiling: float) -> Check:
    if epsilon is None or math.isnan(epsilon):
        return Check("privacy", FAIL, "no_statement", "The parent has no privacy statement: ε is unbounded.")
    return _at_most("privacy", "parent's ε", epsilon, ceiling)


def _swapped(paired: Paired) -> Paired:
    return Paired(
        both=paired.both, parent_only=paired.variant_only, variant_only=paired.parent_only, neither=paired.neither
    )
