"""Test accuracy of private training from scratch on all of Fashion-MNIST, at three privacy budgets.

    python benchmarks/dp_accuracy.py [--split test|validation] [--lines LINE …] [--runs 3] [--state FILE] [--source DIR]

Trains through `train_privately`, as the pipeline does. Each line is a plan that was fixed beforehand: model, steps,
sampling probability and clip norm; its noise is calibrated by dp_accounting's PLD accountant to the line's ε at
δ = 1e-5, adjacency by adding or removing one example, Poisson sampling. The plans were chosen on parts of the training
images; `--split validation` is one such part, which trains on 50,000 and scores the other 10,000, and `--split test`
trains on all 60,000 and scores the test images once a run. A run's sampling and noise come from the operating system's
entropy: the runs of a line differ in both and share only the model's start, which is computed from no data.

Finished runs are kept in the state file, and a second start goes on from there. Progress goes to stderr, the result as
JSON to stdout. Exits with 1 where a mean is under its threshold in benchmarks/baselines/dp_accuracy.json.
"""

import argparse
import dataclasses
import json
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

_ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT), str(_ROOT / "data")]

from fashion_mnist_originals import ORIGINS, find_originals  # noqa: E402

from components.common.examples import Split  # noqa: E402
from components.dp_training.config import TrainerConfig  # noqa: E402
from components.dp_training.core import train_privately  # noqa: E402
from components.dp_training.fixed import features_of, without_fixed_layers  # noqa: E402
from components.dp_training.journal import Journal  # noqa: E402
from components.dp_training.models import build  # noqa: E402
from components.privacy.accounting import Mechanism, epsilon_of, noise_multiplier_for  # noqa: E402

DELTA = 1e-5
BASELINES = _ROOT / "benchmarks" / "baselines" / "dp_accuracy.json"
_HELD_OUT = 10_000
_SHAPE, _CLASSES = (28, 28, 1), 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """A line of the table: what is trained, and at which ε."""

    epsilon: float
    model: str
    steps: int
    sampling_probability: float
    l2_norm_clip: float
    learning_rate: float
    physical_batch_size: int


LINES = {
    "cnn": Line(
        epsilon=2.7,
        model="gabor_cnn",
        steps=200,
        sampling_probability=0.14,
        l2_norm_clip=10.0,
        learning_rate=0.2,
        physical_batch_size=256,
    ),
    "scattering": Line(
        epsilon=3.0,
        model="scattering_linear",
        steps=300,
        sampling_probability=0.14,
        l2_norm_clip=0.15,
        learning_rate=300.0,
        physical_batch_size=2048,
    ),
    "scattering-eps1": Line(
        epsilon=1.0,
        model="scattering_linear",
        steps=300,
        sampling_probability=0.14,
        l2_norm_clip=0.15,
        learning_rate=120.0,
        physical_batch_size=2048,
    ),
}


def mechanism_of(line: Line) -> Mechanism:
    """The mechanism with the least noise whose ε is at most the line's; the whole plan was fixed beforehand."""
    plan = {"sampling_probability": line.sampling_probability, "steps": line.steps}
    return Mechanism(noise_multiplier=noise_multiplier_for(line.epsilon, DELTA, **plan, accountant="PLD"), **plan)


class Examples:
    """Training and scored images of a split, and the features that fixed layers make of them, made once a model."""

    def __init__(self, split: str, source: Path | None):
        originals = find_originals(source, ORIGINS)
        train, test = ((o.images[..., None], o.labels.astype(np.int64)) for o in originals.values())
        if split == "validation":
            order = np.random.default_rng(7).permutation(len(train[1]))
            train, test = (tuple(a[rows] for a in train) for rows in (order[_HELD_OUT:], order[:_HELD_OUT]))
        self._raw = [Split(images=images, labels=labels) for images, labels in (train, test)]
        self._made: dict[str, tuple] = {}

    def of(self, model: str) -> tuple:
        """A function that makes the trained part of the model afresh, and its training and scored examples."""
        if model not in self._made:
            whole = build(model, _SHAPE, _CLASSES)
            front, trained = without_fixed_layers(whole)
            start = [w.copy() for w in trained.get_weights()]

            def fresh():
                trained.set_weights(start)
                return trained

            self._made = {model: (fresh, *(features(front, raw) for raw in self._raw))}
        return self._made[model]


def features(front, raw: Split) -> Split:
    """What the fixed layers make of all examples; the images where there are none."""
    if front is None:
        return raw
    pieces = (raw.take(np.arange(i, min(i + 250, len(raw)))) for i in range(0, len(raw), 250))
    return Split(images=np.concatenate([piece.images for piece in features_of(front, pieces)]), labels=raw.labels)


def train(line: Line, mechanism: Mechanism, model, private: Split, name: str) -> float:
    """Trains `model` in place; how many seconds that took."""
    population = len(private)
    config = TrainerConfig(
        model=line.model,
        population=population,
        expected_batch_size=round(line.sampling_probability * population),
        steps=line.steps,
        l2_norm_clip=line.l2_norm_clip,
        learning_rate=line.learning_rate,
        schedule="linear",
        physical_batch_size=line.physical_batch_size,
    )
    started = time.monotonic()

    def on_step(step: int) -> None:
        if step % 25 == 0:
            tell(f"{name}: step {step} of {line.steps}, {time.monotonic() - started:.0f} s")

    with tempfile.TemporaryDirectory() as folder:
        train_privately(model, private, config, mechanism, Journal(Path(folder), math.inf), on_step)
    return round(time.monotonic() - started, 1)


def train_and_score(line: Line, mechanism: Mechanism, examples: Examples, name: str) -> dict[str, float]:
    """One run: `accuracy` as a fraction of the scored images, and `seconds` of training."""
    fresh, private, scored = examples.of(line.model)
    model = fresh()
    seconds = train(line, mechanism, model, private, name)
    images = scored.images if scored.images.dtype != np.uint8 else scored.images.astype(np.float32) / 255.0
    predicted = model.predict(images, batch_size=1000, verbose=0).argmax(1)
    return {"accuracy": float(np.mean(predicted == scored.labels)), "seconds": seconds}


def tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def run(arguments: argparse.Namespace) -> dict:
    """Runs what the state file does not hold yet, and returns the result a line."""
    state = json.loads(arguments.state.read_text()) if arguments.state.exists() else {}
    examples, result = None, {}
    for name in arguments.lines:
        line = LINES[name]
        mechanism = mechanism_of(line)
        key = f"{arguments.split}/{name}/{json.dumps(dataclasses.asdict(line), sort_keys=True)}"
        done = state.setdefault(key, [])
        while len(done) < arguments.runs:
            examples = examples or Examples(arguments.split, arguments.source)
            done.append(train_and_score(line, mechanism, examples, f"{name}, run {len(done) + 1}"))
            tell(f"{name}, run {len(done)} of {arguments.runs}: {done[-1]}")
            replace(arguments.state, json.dumps(state, indent=1).encode())
        accuracies = [r["accuracy"] for r in done[: arguments.runs]]
        result[name] = {
            "mean": statistics.mean(accuracies),
            "spread": max(accuracies) - min(accuracies),
            "runs": accuracies,
            "epsilon_pld": epsilon_of([mechanism], DELTA, "PLD"),
            "noise_multiplier": mechanism.noise_multiplier,
            **dataclasses.asdict(line),
        }
    return result


def replace(path: Path, content: bytes) -> None:
    """Writes a file aside and then renames it, so that a reader sees all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}")
    scratch.write_bytes(content)
    scratch.replace(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument("--lines", nargs="+", choices=LINES, default=list(LINES))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--state", type=Path, default=Path(tempfile.gettempdir(), "lockgate-dp-accuracy.json"))
    parser.add_argument("--source", type=Path, help="folder of the four idx.gz files")
    arguments = parser.parse_args()
    result = run(arguments)
    baselines = json.loads(BASELINES.read_text())["lines"]
    missed = [n for n, r in result.items() if arguments.split == "test" and r["mean"] < baselines[n]["at_least"]]
    print(json.dumps({"split": arguments.split, "delta": DELTA, "lines": result, "missed": missed}, indent=1))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
