"""What the user may set about gates."""

from dataclasses import dataclass

from components.common.settings import require, require_fraction, require_positive


@dataclass(frozen=True, kw_only=True)
class GatesConfig:
    """Thresholds; fractions are fractions (0.01 is one point).

    max_drop: accuracy on `holdout` that a variant may lose against its parent. alpha: probability of a wrong pass,
    shared among the variants that compete. slice_max_drop: the same bound for every class, at level 0.05 each.
    min_accuracy: floor for parent and variant. max_bytes: raw size of the `.tflite`. max_latency_ratio: latency over
    that of the parent's float `.tflite`.
    min_float_accuracy: floor that TFMA's Evaluator puts under the parent, and min_class_accuracy under every class.
    max_regression: accuracy the parent may lose, in TFMA's Evaluator, against the last blessed one.
    """

    max_drop: float = 0.01
    alpha: float = 0.05
    slice_max_drop: float = 0.05
    min_accuracy: float = 0.0
    max_bytes: int = 10_000_000
    max_latency_ratio: float = 5.0
    min_float_accuracy: float = 0.0
    min_class_accuracy: float = 0.0
    max_regression: float = 0.015

    def __post_init__(self):
        for name in ("max_drop", "slice_max_drop", "max_regression"):
            require_fraction(name, getattr(self, name), low_open=True)
        for name in ("min_accuracy", "min_float_accuracy", "min_class_accuracy"):
            require_fraction(name, getattr(self, name))
        require(0 < self.alpha < 0.5, "alpha", "be in (0, 0.5)", self.alpha)
        require(self.max_bytes >= 1, "max_bytes", "be at least 1", self.max_bytes)
        require_positive("max_latency_ratio", self.max_latency_ratio)
