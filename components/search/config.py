"""What the user may set about a recipe by accuracy."""

from dataclasses import dataclass

from components.common.settings import require, require_fraction
from components.common.tuning import PublicTuning


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """The smallest int8 file whose accuracy on `validation` is at most so far below the parent's.

    max_drop: accuracy that may be lost, a fraction; the search aims lower where the gate asks for more. sparsities,
    clusters: the levels that a kernel may have, beside being left dense or unclustered. public: how each try is
    fine-tuned, once, with all that it promises held; None for weights only. quantization_aware: whether the int8
    rounding is held too while it is. power: probability with which the gate is to pass what was found. tries: how
    many combinations of levels are made and measured at most; each takes about as long as a fixed recipe
    (`benchmarks.search_cost`).
    """

    max_drop: float
    sparsities: tuple[float, ...] = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
    clusters: tuple[int, ...] = (64, 32, 16, 8, 4)
    public: PublicTuning | None = None
    quantization_aware: bool = False
    power: float = 0.9
    tries: int = 3

    def __post_init__(self):
        require_fraction("max_drop", self.max_drop)
        for sparsity in self.sparsities:
            require_fraction("sparsities", sparsity, low_open=True, high_open=True)
        for clusters in self.clusters:
            require(2 <= clusters <= 256, "clusters", "be in [2, 256]", clusters)
        levels = self.sparsities + self.clusters
        require(bool(levels), "sparsities", "name a level where clusters names none", list(levels))
        trained = not self.quantization_aware or self.public is not None
        require(trained, "quantization_aware", "be false where there is no `public` to train on", True)
        require(0.5 <= self.power < 1, "power", "be in [0.5, 1)", self.power)
        require(self.tries >= 1, "tries", "be at least 1", self.tries)
