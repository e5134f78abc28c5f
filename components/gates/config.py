"""What the user may set about gates."""

import math
from dataclasses import dataclass

from components.common.settings import require, require_fraction, require_positive

GATES = (
    "accuracy",
    "slices",
    "flips",
    "calibration",
    "margins",
    "regression",
    "floor",
    "size",
    "latency",
    "memory",
    "structure",
    "servability",
    "evaluator",
    "privacy",
    "holdout",
)


@dataclass(frozen=True, kw_only=True)
class GatesConfig:
    """Thresholds; fractions are fractions (0.01 is one point).

    off: gates that are switched off, by name.
    alpha: probability of a wrong pass, shared among the planned decisions and the variants that compete for each.
    planned_decisions: how often one holdout may decide; past it a gate asks for fresh data.
    accuracy: max_drop, accuracy on `holdout` that a variant may lose against its parent.
    slices: slice_max_drop, the same for every class and every value of the features `slices`; min_slice, the number of
    examples below which a slice decides nothing.
    flips: max_flips, share of predictions that may differ from the parent's. calibration: max_calibration_rise, of the
    expected calibration error over the parent's. margins: max_margin_factor, by which the median distance of the two
    highest scores may differ from the parent's, either way.
    regression: max_regression, accuracy that may be lost against the model that serves and against the best that ever
    did; TFMA's Evaluator bounds the parent's change against the last blessed one by it too.
    floor: min_accuracy of the variant. size: max_bytes of the raw `.tflite`. latency: max_latency_ratio, over that of
    the parent's float `.tflite`. memory: max_memory_bytes, peak of the interpreter with the file.
    evaluator: min_float_accuracy, floor that TFMA's Evaluator puts under the parent, and min_class_accuracy under every
    class.
    """

    off: tuple[str, ...] = ()
    alpha: float = 0.05
    planned_decisions: int = 1
    max_drop: float = 0.01
    slice_max_drop: float = 0.05
    slices: tuple[str, ...] = ()
    min_slice: int = 100
    max_flips: float = 0.15
    max_calibration_rise: float = 0.05
    max_margin_factor: float = 1.5
    max_regression: float = 0.015
    min_accuracy: float = 0.0
    max_bytes: int = 10_000_000
    max_latency_ratio: float = 5.0
    max_memory_bytes: int = 256_000_000
    min_float_accuracy: float = 0.0
    min_class_accuracy: float = 0.0

    def __post_init__(self):
        unknown = next((name for name in self.off if name not in GATES), None)
        require(unknown is None, "off", f"name gates ({', '.join(GATES)})", unknown)
        require(len(set(self.off)) < len(GATES), "off", "leave at least one gate on", list(self.off))
        for name in ("max_drop", "slice_max_drop", "max_regression"):
            require_fraction(name, getattr(self, name), low_open=True, high_open=True)
        for name in (
            "max_flips",
            "max_calibration_rise",
            "min_accuracy",
            "min_float_accuracy",
            "min_class_accuracy",
        ):
            require_fraction(name, getattr(self, name))
        require(0 < self.alpha < 0.5, "alpha", "be in (0, 0.5)", self.alpha)
        for name in ("planned_decisions", "min_slice", "max_bytes", "max_memory_bytes"):
            require(1 <= getattr(self, name) < math.inf, name, "be at least 1", getattr(self, name))
        require_positive("max_latency_ratio", self.max_latency_ratio)
        require(1 < self.max_margin_factor < math.inf, "max_margin_factor", "be above 1", self.max_margin_factor)

    def alpha_each(self, competitors: int) -> float:
        """The share of alpha of one variant in one decision (Bonferroni)."""
        return self.alpha / self.planned_decisions / competitors
