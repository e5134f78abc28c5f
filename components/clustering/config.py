"""What the user may set about clustering."""

from dataclasses import dataclass, field

from components.common.settings import require
from components.common.tuning import CompensatedConfig

STARTS = ("kmeans++", "linear", "density")


@dataclass(frozen=True, kw_only=True)
class ClusterConfig(CompensatedConfig):
    """Weight clustering of the kernels of convolutions and Dense layers; zeros of a pruned kernel stay zeros.

    clusters: number of distinct values a kernel, zero included where it has zeros. layers: other numbers by layer name.
    centroids: where they start; a compensated stage spaces linear ones evenly about zero and leaves them there.
    per_channel: so many values in each output channel instead of in the whole kernel.
    """

    clusters: int
    layers: dict[str, int] = field(default_factory=dict)
    centroids: str = "kmeans++"
    per_channel: bool = False

    def __post_init__(self):
        super().__post_init__()
        require(2 <= self.clusters <= 256, "clusters", "be in [2, 256]", self.clusters)
        for name, clusters in self.layers.items():
            require(2 <= clusters <= 256, f"layers.{name}", "be in [2, 256]", clusters)
        require(self.centroids in STARTS, "centroids", f"be one of {', '.join(STARTS)}", self.centroids)
