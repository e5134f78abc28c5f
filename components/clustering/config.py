"""What the user may set about clustering."""

from dataclasses import dataclass

from components.common.settings import require, require_positive


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Weight clustering of Conv2D and Dense kernels; zeros of a pruned kernel stay zeros.

    clusters: number of centroids a layer. epochs: passes over `public` in which the centroids move, 0 for none.
    learning_rate: of those passes (Adam).
    """

    clusters: int
    epochs: int = 0
    learning_rate: float = 0.0003

    def __post_init__(self):
        require(2 <= self.clusters <= 256, "clusters", "be in [2, 256]", self.clusters)
        require(self.epochs >= 0, "epochs", "be 0 or more", self.epochs)
        require_positive("learning_rate", self.learning_rate)
