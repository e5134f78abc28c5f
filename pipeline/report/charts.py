"""Charts as inline SVG, drawn by matplotlib in the colours of the page, whether it is light or dark."""

import datetime
import io
import re
from typing import Any

from markupsafe import Markup

_COLOURS = {  # what matplotlib is given, and what the page puts in its place
    "#000001": "var(--ink)",
    "#000002": "var(--dim)",
    "#000003": "var(--line)",
    "#000004": "var(--accent)",
    "#000005": "var(--good)",
    "#000006": "var(--bad)",
    "#000007": "var(--unsure)",
}
_DAY = datetime.timedelta(days=1)
_INK, _DIM, _LINE, _ACCENT, _GOOD, _BAD, _UNSURE = _COLOURS
_MARKS = {"parent": ("s", _ACCENT), "pass": ("o", _GOOD), "fail": ("X", _BAD), "inconclusive": ("^", _UNSURE)}
_LABEL_GAP = 0.055  # of the axis' height, between two labels


def accuracy_over_size(parent: dict[str, Any] | None, variants: list[dict[str, Any]], max_drop: float) -> Markup | None:
    """Accuracy on holdout over gzip size, a mark a model (its shape and colour say the verdict), with a dashed line at
    the parent's accuracy less `max_drop`. None without a parent."""
    if not parent:
        return None
    from matplotlib.figure import Figure

    models = [("parent", "parent", parent)] + [(v["recipe"], v["verdict"], v) for v in variants]
    with _drawing():
        figure = Figure(figsize=(7.2, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for _, verdict, model in models:
            shape, colour = _MARKS[verdict]
            axes.scatter(
                model["gzip_bytes"] / 1000, 100 * model["accuracy"], s=55, marker=shape, color=colour, zorder=3
            )
        floor = 100 * (parent["accuracy"] - max_drop)
        axes.axhline(floor, color=_BAD, linestyle=(0, (4, 3)), linewidth=1)
        _frame(axes, "holdout")
        _label(axes, [(name, model) for name, _, model in models])
        axes.annotate(
            "allowed drop", (1, floor), (-4, 3), ("axes fraction", "data"), "offset points", ha="right", color=_BAD
        )
        return _svg(figure, "Accuracy on holdout over gzip size of parent and variants")


def tried_points(search: dict[str, Any]) -> Markup:
    """Accuracy on validation over gzip size of all that a search tried: a circle is within its target, a cross is not;
    a line joins the Pareto set, the chosen one is named, and a dashed line is the parent's accuracy."""
    from matplotlib.figure import Figure

    tries = {t["key"]: t for t in search["tries"]}
    line, chosen = [tries[key] for key in search["pareto"]], tries[search["chosen"]]
    with _drawing():
        figure = Figure(figsize=(7.2, 3.2), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(*_places(line), color=_ACCENT, linewidth=1, zorder=2)
        for made in tries.values():
            shape, colour = _MARKS["pass" if made["within"] else "fail"]
            axes.scatter(*_places([made]), s=55, marker=shape, color=colour, zorder=3)
        axes.axhline(100 * _parent_accuracy(chosen["seen"]), color=_DIM, linestyle=(0, (4, 3)), linewidth=1)
        _frame(axes, "validation")
        _label(axes, [(f"chosen: {chosen['kind']}", chosen)])
        return _svg(figure, f"Accuracy on validation over gzip size of what {search['recipe']} tried")


def epsilon_over_time(spent: dict[str, Any] | None) -> Markup | None:
    """ε for life of the run's span after each charge, a step a charge, with a dashed line at the budget. None where
    nothing was charged.

    Args:
        spent: of `pipeline.record.spent_over_time`.
    """
    if not spent or not spent["history"]:
        return None
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    times = [datetime.datetime.fromisoformat(made) for made, _ in spent["history"]]
    epsilons = [epsilon for _, epsilon in spent["history"]]
    with _drawing():
        figure = Figure(figsize=(7.2, 2.6), layout="constrained")
        axes = figure.add_subplot()
        axes.step(times, epsilons, where="post", color=_ACCENT, linewidth=1)
        axes.scatter(times, epsilons, s=25, color=_ACCENT, zorder=3)
        axes.axhline(spent["budget"], color=_BAD, linestyle=(0, (4, 3)), linewidth=1)
        axes.set_ylim(bottom=0)
        axes.set_xlim(min(times) - _DAY, max(times) + _DAY)
        axes.set_ylabel(f"ε of {spent['span']}", color=_DIM)
        locator = AutoDateLocator()
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        _style(axes)
        return _svg(figure, "ε over time of the span that the run read")


def _places(models: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
    return [m["gzip_bytes"] / 1000 for m in models], [100 * m["accuracy"] for m in models]


def _parent_accuracy(seen: dict[str, int]) -> float:
    return (seen["both"] + seen["parent_only"]) / sum(seen.values())


def _drawing():
    from matplotlib import rc_context

    return rc_context({"svg.fonttype": "none", "svg.hashsalt": "lockgate", "font.family": "sans-serif", "font.size": 9})


def _frame(axes, role: str) -> None:
    axes.set_xlim(left=0)
    axes.margins(x=0.08, y=0.12)
    axes.autoscale_view()
    axes.set_xlabel("gzip size of the .tflite, KB", color=_DIM)
    axes.set_ylabel(f"accuracy on {role}, %", color=_DIM)
    _style(axes)


def _style(axes) -> None:
    axes.tick_params(colors=_DIM)
    axes.grid(color=_LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_DIM)


def _label(axes, models: list[tuple[str, dict[str, Any]]]) -> None:
    """Names the marks, from the top down, each label at least a line below the one before on its side."""
    low, high = axes.get_ylim()
    right = axes.get_xlim()[1]
    above = {True: float("inf"), False: float("inf")}
    for name, model in sorted(models, key=lambda m: -m[1]["accuracy"]):
        x, y = model["gzip_bytes"] / 1000, 100 * model["accuracy"]
        left = x > 0.75 * right
        above[left] = min(y, above[left] - _LABEL_GAP * (high - low))
        axes.annotate(
            name,
            (x, above[left]),
            (-8 if left else 8, 0),
            "data",
            "offset points",
            va="center",
            ha="right" if left else "left",
            color=_INK,
        )


def _svg(figure, label: str) -> Markup:
    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = re.sub(r"<metadata>.*?</metadata>| font-family: [^;\"]*;?", "", written.getvalue(), flags=re.DOTALL)
    text = re.sub(r"(\d\.\d)\d+", r"\1", re.sub(r"\s+", " ", text))  # a tenth of a point is finer than any screen
    text = text[text.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    for given, shown in _COLOURS.items():
        text = text.replace(given, shown)
    return Markup(text)
