"""Writes the README's tables of benchmark figures from the reviewed ones in `baselines/`.

Command: `python -m benchmarks.readme_table`; with `--check` it writes nothing, and exits with 1 if the README has
other tables.
"""

import json
import re
import statistics
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
_DATABASES = {"sqlite": "sqlite", "postgresql": "PostgreSQL", "mariadb": "MariaDB"}
_COMPRESSED = {
    "lenet5": "LeNet-5",
    "ds_cnn": "Depthwise separable CNN",
    "private_cnn": "Private CNN of the default run",
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


def search_rows(baseline: dict) -> list[tuple[str, str, str]]:
    """(what, bound, reviewed figure) of `search_cost`: a ratio of CPU seconds in one run."""
    bound, ratio = baseline["bounds"]["ratio"], baseline["measured"]["ratio"]
    return [
        ("a recipe by accuracy: CPU time over the best fixed recipe, three parents", f"≤ {bound:g}×", f"{ratio:.1f}×")
    ]


def gate_rows(baseline: dict) -> list[tuple[str, str, str]]:
    """(what, bound, reviewed figure) of `gate_calibration`: probabilities."""
    bounds, measured = baseline["bounds"], baseline["measured"]
    return [
        (what, f"{sign} {100 * bounds[key]:.1f} %", f"{100 * measured[key]:.2f} %")
        for what, sign, key in (
            ("a gate passes a variant that is worse by the margin, worst of 15 cells", "≤", "wrong_pass"),
            ("a push takes one of four variants at the margin", "≤", "push_at_margin"),
            ("a gate passes a variant without a drop, margin 0.005, 8,000 images", "≥", "power"),
            ("all gates against the parent pass one of four variants, drop 0.001, 8,000 images", "≥", "joint_pass"),
        )
    ]


def scoring_rows(baseline: dict) -> list[tuple[str, str, str]]:
    """(what, bound, reviewed figure) of `scoring`: a ratio in one run."""
    bound, measured = baseline["bounds"]["faster"], baseline["measured"]
    what = f"scoring {measured['examples']:,} examples by {measured['variants']} variants: speed over TFMA"
    return [(what, f"≥ {bound:g}×", f"{measured['faster']:.1f}×")]


def ledger_rows(baseline: dict) -> list[tuple[str, str, str]]:
    """(what, bound, reviewed figure) of `ledger`: the median ratio of several runs, and how far they lie apart."""
    bounds, measured = baseline["bounds"], baseline["measured"]
    rates = [
        (
            f"Ledger on {_DATABASES[name]}: reservations over inserts that lock a row, eight processes",
            f"≥ {bounds['ratio']:g}×",
            f"{statistics.median(ratios):.2f}× ({min(ratios):.2f} to {max(ratios):.2f})",
        )
        for name, ratios in baseline["ratios"].items()
    ]
    later = max(found["extra_ms"] for found in measured.values())
    what = "Ledger: a reservation decides later behind 10,000 runs over 1,000 spans, by at most"
    return [*rates, (what, f"< {bounds['extra_ms']:g} ms", f"{later:.1f} ms")]


def kubeflow_rows(baseline: dict) -> list[tuple[str, str, str]]:
    """(what, bound, reviewed figure) of `kubeflow_steps`: ratios in one run."""
    bounds, measured = baseline["bounds"], baseline["measured"]
    figures = (
        ("Kubeflow: the largest overhead of a step, over `import tensorflow`", "overhead", "largest"),
        ("Kubeflow: the default run, a process a step, over a local one", "run", "slower"),
    )
    return [(what, f"≤ {bounds[part]:g}×", f"{measured[part][key]:.2f}×") for what, part, key in figures]


def compression_table(baseline: dict, model: str) -> list[str]:
    """The lines of `compression` of one model: points of accuracy lost, with the hull of the seeds' 95 % intervals, and
    how many times smaller the file is; the guide's beside it."""
    lines = {key.split("/")[1]: line for key, line in baseline["measured"]["lines"].items() if key.startswith(model)}
    parent = next(iter(lines.values()))["ours"]
    title = f"{_COMPRESSED[model]}, {100 * parent['parent']:.1f} %"
    rows = [f"| {title} | lost | must be | gzip | download | guide lost | gzip |", "|---|---|---|---|---|---|---|"]
    for name, line in lines.items():
        ours, most = line["ours"], baseline["bounds"].get(f"{model}/{name}", {}).get("at_most", {}).get("drop")
        sizes = (f"{ours[ratio]:.1f}×" for ratio in ("gzip_ratio", "download_ratio"))
        cells = (name, _lost(ours), f"≤ {100 * most:g}" if most else "", *sizes, *_guide(line.get("guide")))
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _lost(found: dict) -> str:
    lows, highs = zip(*(run["drop_interval"] for run in found["runs"]), strict=True)
    return f"{100 * found['drop']:.2f} ({100 * min(lows):.2f} to {100 * max(highs):.2f})"


def _guide(found: dict | None) -> tuple[str, str]:
    if found is None or "refused" in found:
        return ("refused" if found else "", "")
    return _lost(found), f"{found['gzip_ratio']:.1f}×"


def tables() -> str:
    """The tables as Markdown."""
    lines = ["| what | must be | reviewed |", "|---|---|---|"]
    for name, rows in _ROWS:
        lines += [f"| {' | '.join(row)} |" for row in rows(_baseline(name))]
    compression = _baseline("compression")
    measured = {key.split("/")[0] for key in compression["measured"]["lines"]}
    for model in (m for m in _COMPRESSED if m in measured):
        lines += ["", *compression_table(compression, model)]
    return "\n".join(lines) + "\n"


def _baseline(name: str) -> dict:
    return json.loads((HERE / "baselines" / f"{name}.json").read_text())


_ROWS = (
    ("dp_throughput", throughput_rows),
    ("dp_accuracy", accuracy_rows),
    ("private_model", private_model_rows),
    ("search_cost", search_rows),
    ("gate_calibration", gate_rows),
    ("scoring", scoring_rows),
    ("ledger", ledger_rows),
    ("kubeflow_steps", kubeflow_rows),
)


def main(arguments: list[str]) -> int:
    """Writes the tables, or checks them."""
    had = README.read_text()
    made = _TABLE.sub(lambda _: tables(), had)
    if "--check" in arguments:
        return int(made != had)
    README.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
