"""The choice among variants that passed: pure, and blind to what `holdout` said beyond the verdicts."""

import math

from components.selection.config import SelectionConfig


def select(verdicts: list[dict], config: SelectionConfig) -> dict | None:
    """Chooses the variant to ship.

    Args:
        verdicts: what gates wrote, with `recipe`, `verdict`, and the figures of `FIGURES`; one that is missing or no
            positive number counts as infinite.
        config: the objective.

    Returns:
        The verdict of the chosen variant, or None if none passed.
    """
    passed = [v for v in verdicts if v.get("verdict") == "pass"]
    least = {name: min((_figure(v, name) for v in passed), default=1.0) for name in config.figures}

    def cost(verdict: dict) -> float:
        return sum(weight * _over(_figure(verdict, name), least[name]) for name, weight in config.figures.items())

    return min(passed, key=lambda v: (cost(v), _figure(v, "gzip_bytes"), v["recipe"]), default=None)


def _figure(verdict: dict, name: str) -> float:
    value = verdict.get(name)
    return value if isinstance(value, (int, float)) and value > 0 else math.inf


def _over(value: float, least: float) -> float:
    return value / least if math.isfinite(value) else math.inf
