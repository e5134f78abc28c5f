"""What the user may set about pruning."""

from dataclasses import dataclass

from components.common.settings import require, require_fraction, require_positive


@dataclass(frozen=True, kw_only=True)
class PruneConfig:
    """Magnitude pruning of Conv2D and Dense kernels.

    sparsity: fraction of a layer's weights that become zero. epochs: passes over `public` with the zeros held, 0 for
    none. learning_rate: of those passes (Adam).
    """

    sparsity: float
    epochs: int = 0
    learning_rate: float = 0.0003

    def __post_init__(self):
        require_fraction("sparsity", self.sparsity, low_open=True, high_open=True)
        require(self.epochs >= 0, "epochs", "be 0 or more", self.epochs)
        require_positive("learning_rate", self.learning_rate)
