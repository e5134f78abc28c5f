"""Charts as inline SVG."""

from typing import Any

from markupsafe import Markup, escape

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 640, 320, 60, 45, 20, 150
_MARKS = {
    "parent": '<rect x="{x0}" y="{y0}" width="10" height="10" class="parent"/>',
    "pass": '<circle cx="{x}" cy="{y}" r="6" class="pass"/>',
    "fail": '<path d="M{x0} {y0}l10 10m0 -10l-10 10" class="fail"/>',
    "inconclusive": '<path d="M{x} {y0}l6 10h-12z" class="inconclusive"/>',
}


def accuracy_over_size(
    parent: dict[str, Any] | None, variants: list[dict[str, Any]], max_drop: float
) -> Markup | None:
    """Accuracy on holdout over gzip size, a mark a model (its shape and colour say the verdict), with a dashed line at
    the parent's accuracy less `max_drop`. None without a parent."""
    if not parent:
        return None
    models = [("parent", "parent", parent)] + [(v["recipe"], v["verdict"], v) for v in variants]
    sizes = [m["gzip_bytes"] for _, _, m in models]
    floor = parent["accuracy"] - max_drop
    accuracies = [m["accuracy"] for _, _, m in models] + [floor]
    low, high = min(accuracies) - 0.002, max(accuracies) + 0.002
    across, down = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(size: float) -> float:
        return round(_LEFT + across * size / (1.05 * max(sizes)), 1)

    def y(accuracy: float) -> float:
        return round(_TOP + down * (high - accuracy) / (high - low), 1)

    parts = [_axes(low, high, max(sizes), x, y)]
    parts.append(f'<path d="M{_LEFT} {y(floor)}H{_LEFT + across}" class="floor"/>')
    parts.append(f'<text x="{_LEFT + across + 6}" y="{y(floor) + 4}">allowed drop</text>')
    labels: list[float] = []
    for name, verdict, model in sorted(models, key=lambda m: -m[2]["accuracy"]):
        px, py = x(model["gzip_bytes"]), y(model["accuracy"])
        ly = py if not labels else max(py, labels[-1] + 15)
        labels.append(ly)
        parts.append(_MARKS[verdict].format(x=px, y=py, x0=px - 5, y0=py - 5))
        end = ' text-anchor="end"' if px > _LEFT + 0.8 * across else ""
        parts.append(f'<text x="{px - 10 if end else px + 10}" y="{ly + 4}"{end}>{escape(name)}</text>')
    label = "Accuracy on holdout over gzip size of parent and variants"
    return Markup(f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>')


def _axes(low: float, high: float, size: float, x, y) -> str:
    parts = [f'<path d="M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}" class="axis"/>']
    for i in range(5):
        accuracy, at = low + (high - low) * i / 4, size * i / 4
        parts.append(f'<text x="{_LEFT - 6}" y="{y(accuracy) + 4}" text-anchor="end">{100 * accuracy:.1f}</text>')
        parts.append(f'<text x="{x(at)}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{at / 1000:.0f}</text>')
    parts.append(f'<text x="{_LEFT}" y="12">accuracy, %</text>')
    parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 8}" text-anchor="end">gzip size, KB</text>')
    return "".join(parts)
