"""What the user may set about pruning."""

from dataclasses import dataclass, field

from components.common.settings import require, require_fraction
from components.common.tuning import CompensatedConfig

SCHEDULES = ("constant", "polynomial")
PATTERNS = ("unstructured", "2:4")


@dataclass(frozen=True, kw_only=True)
class PruneConfig(CompensatedConfig):
    """Magnitude pruning of the kernels of convolutions and Dense layers.

    sparsity: fraction of a kernel's weights that become zero. layers: other fractions by layer name. units: fractions
    of the output channels of layers, by name, that are removed first. schedule: how the zeros come while the stage
    fine-tunes, all at once or along a cubic; a compensated stage starts with all of them. ramp: fraction of the
    fine-tuning in which they come. block: rows and columns of the kernel, as a matrix of inputs by outputs, that become
    zero together. pattern: `2:4` for two zeros in each four consecutive input channels.
    """

    sparsity: float
    layers: dict[str, float] = field(default_factory=dict)
    units: dict[str, float] = field(default_factory=dict)
    schedule: str = "polynomial"
    ramp: float = 0.6
    block: tuple[int, ...] = (1, 1)
    pattern: str = "unstructured"

    def __post_init__(self):
        super().__post_init__()
        require_fraction("sparsity", self.sparsity, high_open=True)
        for setting in ("layers", "units"):
            for name, fraction in getattr(self, setting).items():
                require_fraction(f"{setting}.{name}", fraction, high_open=True)
        require(self.schedule in SCHEDULES, "schedule", f"be one of {', '.join(SCHEDULES)}", self.schedule)
        require_fraction("ramp", self.ramp, low_open=True)
        good = len(self.block) == 2 and all(side >= 1 for side in self.block)
        require(good, "block", "be two numbers of at least 1", list(self.block))
        require(self.pattern in PATTERNS, "pattern", f"be one of {', '.join(PATTERNS)}", self.pattern)
        if self.pattern == "2:4":
            require(self.sparsity == 0.5 and not self.layers, "sparsity", "be 0.5 everywhere for 2:4", self.sparsity)
            require(self.block == (1, 1), "block", "be [1, 1] for 2:4", list(self.block))
