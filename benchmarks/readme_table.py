"""Writes the README's table of benchmark figures from the reviewed ones in `baselines/`.

Command: `python -m benchmarks.readme_table`; with `--check` it writes nothing, and exits with 1 if the README has
another table.
"""

import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
_TABLE = re.compile(r"(?<=<!-- benchmarks -->\n).*?(?=<!-- end of benchmarks -->)", re.S)
_MODELS = {"tanh_cnn_26k": "CNN of 26,010 weights", "group_cnn_300k": "CNN of 300,000 weights with GroupNormalization"}
_LINES = {
    "cnn": "Fashion-MNIST from scratch, a CNN, ε ≤ 2.7",
    "scattering": "Fashion-MNIST, data-independent features, ε ≤ 3",
    "scattering-eps1": "Fashion-MNIST, data-independent features, ε ≤ 1",
}


def accuracy_rows(baseline: dict) -> list[tuple[str, str, str]]:
    """(what, bound, reviewed figure) of `dp_accuracy`: test accuracy, the mean of three runs."""
    return [
        (
            f"{_LINES[name]}: test accuracy",
            f"≥ {100 * line['at_least']:.1f} %",
            f"{100 * line['mean']:.2f} % (spread {100 * line['spread']:.2f})",
        )
        for name, line in baseline["lines"].items()
    ]


def throughput_rows(baseline: dict) -> list[tuple[str, str, str]]:
    """(what, bound, reviewed figure) of `dp_throughput`: ratios in one run."""
    bounds, measured = baseline["thresholds"], baseline["measured"]
    rows = [
        (f"{_MODELS[model]}, batch {key.split()[1]}: speed over plain SGD's best", bounds["engine_of_plain"], ratio)
        for model, part in measured["models"].items()
        for key, ratio in part["of_plain"].items()
        if key.startswith("engine")
    ]
    peers = (("tfp_optimizer", "tensorflow-privacy's DPKerasSGDOptimizer"), ("opacus", "Opacus's better mode"))
    for peer, name in peers:
        least = min(v for k, v in measured["peers"].items() if k.endswith(f" of {peer}"))
        rows.append((f"speed over {name}", bounds[f"engine_of_{peer}"], least))
    memory = ("peak memory, logical batch 16,384 over 256", f"≤ {bounds['memory_ratio']:g}×")
    return [(what, f"≥ {bound:g}×", f"{ratio:.3g}×") for what, bound, ratio in rows] + [
        (*memory, f"{measured['memory']['ratio']:.2f}×")
    ]


def private_model_rows(baseline: dict) -> list[tuple[str, str, str]]:
    """(what, bound, reviewed figure) of `private_model`."""
    bounds, measured = baseline["bounds"], baseline["measured"]
    what = f"Fashion-MNIST, private int8 model for download, ε ≤ {bounds['epsilon_pld']:g}"
    accuracy = (f"≥ {100 * bounds['accuracy']:.1f} %", f"{100 * measured['accuracy']:.2f} %")
    size = (f"≤ {bounds['download_bytes'] / 1000:g} KB", f"{measured['download_bytes'] / 1000:.1f} KB")
    return [(f"{what}: test accuracy", *accuracy), (f"{what}: all of the download", *size)]


def table() -> str:
    """The table as Markdown."""
    lines = ["| what | must be | reviewed |", "|---|---|---|"]
    for name, rows in _ROWS:
        baseline = json.loads((HERE / "baselines" / f"{name}.json").read_text())
        lines += [f"| {' | '.join(row)} |" for row in rows(baseline)]
    return "\n".join(lines) + "\n"


_ROWS = (
    ("dp_throughput", throughput_rows),
    ("dp_accuracy", accuracy_rows),
    ("private_model", private_model_rows),
)


def main(arguments: list[str]) -> int:
    """Writes the table, or checks it."""
    had = README.read_text()
    made = _TABLE.sub(lambda _: table(), had)
    if "--check" in arguments:
        return int(made != had)
    README.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
