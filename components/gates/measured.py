"""What was observed of one variant, as the gates read it. Whatever is None was not measured."""

from dataclasses import dataclass

from components.gates.core import Paired
from components.shipped.latency import Interval


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How the variant's answers stand to its parent's on the same examples.

    flips: number of other predictions, of `total`. calibration, parent_calibration: expected calibration errors.
    margin_factor: median distance of the two highest scores, over the parent's.
    """

    flips: int
    total: int
    calibration: float
    parent_calibration: float
    margin_factor: float


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What the file did in a fresh process. complaints: what it did wrong, a sentence each; none is good."""

    complaints: tuple[str, ...]
    peak_bytes: int | None
    latency_ratio: Interval | None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What TFMA's Evaluator said of the parent. blessed: None if it did not say; missing: slices without a metric."""

    blessed: bool | None
    missing: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Spent:
    """How often this holdout has decided. number: of this decision, from 1; earlier: alpha that earlier ones took."""

    number: int
    earlier: float


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One variant on `holdout`.

    overall, slices: right answers, paired with the parent's; slices by "class Shirt" or "feature=value".
    agreement: with the parent. served: right answers paired with those of the models that serve and served, by what
    they are; empty before the first push. bytes: of the `.tflite`. broken: what the recipe's stages promised of the
    file and it does not hold, a sentence each. epsilon, delta: of the statement. duplicates: examples that were left
    out because another is the same. spent: None if the decision was not counted.
    """

    overall: Paired
    slices: dict[str, Paired]
    agreement: Agreement | None
    served: dict[str, Paired] | None
    bytes: int
    broken: tuple[str, ...] | None
    probe: Probe | None
    evaluation: Evaluation | None
    epsilon: float | None
    delta: float | None
    duplicates: int
    spent: Spent | None
