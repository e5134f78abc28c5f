"""What a recipe by accuracy costs: CPU time of a search for `max_drop` over that of the best fixed recipe.

    python -m benchmarks.search_cost [--source DIR]

Three parents are the default run's network, trained without privacy on 18,000 images of Fashion-MNIST; 2,000 others are
public, 2,000 more are validation. A search with the settings of docs/compression.md runs once for each, with its scan,
all its tries and their measuring. The best fixed recipe is the one that it chose, written out as a user who knew its
levels would: the same stages in turn, each of pruning and clustering fine-tuned as long as a try of the search is, then
int8, read back and measured on validation like a try. Its accuracy is told beside the search's. Both run in this
process, one after the other, after one conversion that warms TensorFlow up; what is counted is user and system time of
the process and its children, so that other load on the machine and the number of cores matter little. `of_a_try` is the
same over the chosen try alone, which fine-tunes once with all levels held: what a recipe would cost that knew the
search's trick.

Progress goes to stderr, the result as JSON to stdout. Exits with 1 over the bound of baselines/search_cost.json.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT), str(_ROOT / "data")]

import numpy as np  # noqa: E402
from fashion_mnist_originals import ORIGINS, find_originals  # noqa: E402

from benchmarks.dp_accuracy import tell  # noqa: E402
from components.clustering.config import ClusterConfig  # noqa: E402
from components.clustering.core import cluster  # noqa: E402
from components.common.compressed import Compressed  # noqa: E402
from components.common.examples import Split, scaled  # noqa: E402
from components.common.legacy_keras import keras  # noqa: E402
from components.common.public_training import fit_public  # noqa: E402
from components.common.tflite import TFLiteModel  # noqa: E402
from components.common.tuning import PublicTuning  # noqa: E402
from components.dp_training.models import build, deployable  # noqa: E402
from components.pruning.config import PruneConfig  # noqa: E402
from components.pruning.core import prune  # noqa: E402
from components.quantization.config import QuantizeConfig  # noqa: E402
from components.quantization.core import convert, quantize  # noqa: E402
from components.search.config import SearchConfig  # noqa: E402
from components.search.core import Found, search  # noqa: E402
from components.search.plans import Plan  # noqa: E402
from components.search.target import Target  # noqa: E402
from components.search.tries import Bench  # noqa: E402
from components.shipped.agreement import agreement  # noqa: E402
from components.shipped.description import described  # noqa: E402
from pipeline.config import load as load_config  # noqa: E402

BASELINE = _ROOT / "benchmarks" / "baselines" / "search_cost.json"
SETTINGS = SearchConfig(max_drop=0.005, public=PublicTuning(epochs=3, distillation=1.0))
_SIZES = {"train": 18_000, "public": 2_000, "validation": 2_000}
_HOLDOUT = 8_000
_PARENTS = 3


def load(source: Path | None) -> dict[str, Split]:
    """Disjoint parts of the training images, as large as the default run's."""
    original = find_originals(source, ORIGINS)["train"]
    images = Split(images=original.images[..., None], labels=original.labels.astype(np.int64))
    parts = np.split(np.random.default_rng(3).permutation(len(images)), np.cumsum(list(_SIZES.values())))
    return {role: images.take(part) for role, part in zip(_SIZES, parts, strict=False)}


def trained(data: dict[str, Split], seed: int) -> keras.Model:
    """A parent."""
    keras.utils.set_random_seed(seed)
    model = build(load_config("default").trainer.model, data["train"].images.shape[1:], 10)
    fit_public(model, data["train"], PublicTuning(epochs=10, learning_rate=0.002))
    return deployable(model)


def fixed(parent: keras.Model, plan: Plan, data: dict[str, Split]) -> float:
    """Runs a plan as a fixed recipe; its accuracy on validation."""
    keras.utils.set_random_seed(0)
    calibration, validation = scaled(data["public"].images[:500]), data["validation"]
    made = Compressed(model=parent)

    def tune(model, held) -> None:
        fit_public(model, data["public"], SETTINGS.public, held, teacher=parent)

    if plan.sparsities:
        made = prune(made, PruneConfig(sparsity=0.0, layers=plan.sparsities), tune)
    if plan.clusters:
        made = cluster(made, ClusterConfig(clusters=max(plan.clusters.values()), layers=plan.clusters), tune)
    made, file = quantize(made, QuantizeConfig(per_channel=not plan.clusters), calibration, None)
    described(plan.kind, "int8", made, file)
    agreement(made.model, file, [calibration])
    scores = TFLiteModel(file).scores(scaled(validation.images))
    return float(np.mean(scores.argmax(1) == validation.labels))


def found_by_search(parent: keras.Model, data: dict[str, Split]) -> Found:
    """A whole search, in a folder that holds nothing yet."""
    target = Target.under(load_config("default").gates, SETTINGS, _HOLDOUT, competitors=1)
    with tempfile.TemporaryDirectory() as folder:
        return search(parent, data["validation"], data["public"], SETTINGS, target, Path(folder))


def cpu_seconds(work: Callable[[], Any]) -> tuple[Any, float]:
    """What `work` gives, and the user and system time that it took, children included."""
    before = sum(os.times()[:4])
    return work(), sum(os.times()[:4]) - before


def measured(parent: keras.Model, data: dict[str, Split]) -> dict[str, Any]:
    """The search, the fixed recipe and the try that was chosen."""
    found, searching = cpu_seconds(lambda: found_by_search(parent, data))
    tell(f"search: {searching:.1f} s, {len(found.tries)} tries, chosen {found.chosen.plan.kind}")
    plan = found.chosen.plan
    accuracy, alone = cpu_seconds(lambda: fixed(parent, plan, data))
    tell(f"fixed recipe: {alone:.1f} s")
    bench = Bench(parent, data["validation"], data["public"], SETTINGS)
    _, one_try = cpu_seconds(lambda: bench.run(plan))
    return {
        "search_seconds": searching,
        "fixed_seconds": alone,
        "try_seconds": one_try,
        "tries": len(found.tries),
        "chosen": plan.kind,
        "search_accuracy": found.chosen.measured.seen.variant_accuracy,
        "fixed_accuracy": accuracy,
        "parent_accuracy": found.chosen.measured.seen.parent_accuracy,
    }


def together(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The ratios of all runs' seconds, and the runs."""
    searching, alone, one_try = (sum(run[f"{what}_seconds"] for run in runs) for what in ("search", "fixed", "try"))
    return {"ratio": searching / alone, "of_a_try": searching / one_try, "runs": runs}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="folder of the four idx.gz files")
    data = load(parser.parse_args().source)
    parents = [trained(data, seed) for seed in range(_PARENTS)]
    convert(parents[0], "int8", scaled(data["public"].images[:10]))
    found = together([measured(parent, data) for parent in parents])
    over = found["ratio"] > json.loads(BASELINE.read_text())["bounds"]["ratio"]
    print(json.dumps({**found, "missed": ["ratio"] if over else []}, indent=1))
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
