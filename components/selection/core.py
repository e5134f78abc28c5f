"""The choice among variants that passed: pure, and blind to what `holdout` said beyond the verdicts."""

from components.selection.config import SelectionConfig


def select(verdicts: list[dict], config: SelectionConfig) -> dict | None:
    """Chooses the variant to ship.

    Args:
        verdicts: what gates wrote, with `recipe`, `verdict`, `bytes`, `gzip_bytes` and `latency_us`.
        config: the objective.

    Returns:
        The verdict of the chosen variant, or None if none passed.
    """
    passed = [v for v in verdicts if v["verdict"] == "pass"]
    return min(passed, key=lambda v: (v[config.objective], v["gzip_bytes"], v["recipe"]), default=None)
