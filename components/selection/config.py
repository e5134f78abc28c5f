"""What the user may set about selection."""

from dataclasses import dataclass

from components.common.settings import require

OBJECTIVES = ("download_bytes", "gzip_bytes", "bytes", "latency_us")


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """Which of the variants that passed is shipped.

    objective: the figure to make smallest; ties go to the smaller gzip size, then to the name.
    """

    objective: str = "gzip_bytes"

    def __post_init__(self):
        require(self.objective in OBJECTIVES, "objective", f"be one of {', '.join(OBJECTIVES)}", self.objective)
