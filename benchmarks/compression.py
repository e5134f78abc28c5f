"""Size and accuracy of compressed models on all of Fashion-MNIST, like for like, beside TFMOT's own guides.

    python -m benchmarks.compression [--split test|validation] [--lines MODEL/LINE …] [--state FOLDER] [--source DIR]

Every ratio is the gzip size of the parent's float `.tflite` over that of the file that ships, or over its download.
Parents are trained to their plateau on 54,000 of the training images, the private one by the default run's settings;
nothing is augmented, neither they nor the lines nor the guides. Levels, rates and epochs were chosen on the other
6,000, which `--split validation` scores; `--split test` scores the test images, once a file. Each line of ours has the
same technique as TFMOT's guide does it beside it, from the same parent, in the same process, or the guide's refusal.
Differences are paired, with Tango's 95 % interval. Zeros and distinct values are read back from each file.

Finished files are kept in the state folder, and a second start goes on from there. Progress goes to stderr, the result
as JSON to stdout. Exits with 1 where a bound of benchmarks/baselines/compression.json is missed.
"""

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT), str(_ROOT / "data")]

import numpy as np  # noqa: E402

from benchmarks import tfmot_guide  # noqa: E402
from benchmarks.compression_lines import LINES, Line, compress  # noqa: E402
from benchmarks.compression_models import BUILD, TRAINERS, load, train  # noqa: E402
from benchmarks.dp_accuracy import tell  # noqa: E402
from benchmarks.state import State, key_of  # noqa: E402
from components.common.content import sizes  # noqa: E402
from components.common.errors import ModelError  # noqa: E402
from components.common.examples import scaled  # noqa: E402
from components.common.legacy_keras import keras  # noqa: E402
from components.dp_training.models import deployable  # noqa: E402
from components.gates.core import drop_bound  # noqa: E402
from components.gates.measurement import paired  # noqa: E402
from components.quantization.core import convert  # noqa: E402
from components.shipped.description import broken_promises  # noqa: E402
from components.shipped.packing import pack  # noqa: E402
from components.shipped.reading import read  # noqa: E402

BASELINE = _ROOT / "benchmarks" / "baselines" / "compression.json"
_ALPHA = 0.025  # on each side
_OVER_SEEDS = {"distinct": max, "zeros": min}  # all else is a mean


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parent:
    """A trained model. name: says what made it. file: its float `.tflite`."""

    name: str
    model: keras.Model
    file: bytes


class Bench:
    """Makes and measures what the lines say, or finds it in the state folder."""

    def __init__(self, split: str, source: Path | None, state: State):
        self._state = state
        self._data = cache(lambda model: load(model, split, source))
        self._parent = cache(self._made_parent)

    def run(self, name: str) -> dict[str, Any]:
        """Ours, and the guide's or its refusal: means, and the run of each seed."""
        line = LINES[name]
        found = {"ours": merged([self._ours(name, line, seed) for seed in range(line.seeds)])}
        if line.guide:
            try:
                found["guide"] = merged([self._guide(name, line, seed) for seed in range(line.seeds)])
            except (RuntimeError, ValueError) as refusal:
                found["guide"] = {"refused": str(refusal).splitlines()[0]}
        return found

    def _ours(self, name: str, line: Line, seed: int) -> dict[str, Any]:
        parent, public = self._parent(line.model, seed), self._data(line.model).public
        stages = [[type(stage).__name__, dataclasses.asdict(stage)] for stage in line.stages]
        path = f"{name}-ours-{seed}-{key_of(parent.name, stages)}"

        def make() -> bytes:
            content, description = compress(name, parent.model, public, seed)
            self._state.note(path, description)
            return content

        content, seconds = self._state.file(f"{path}.tflite", make)
        broken = broken_promises(self._state.note(path), content)
        if broken:
            raise ModelError(f"{name}: {broken[0]}")
        download, _ = self._state.file(f"{path}.lockgate", lambda: pack(content))
        ratio = sizes(parent.file)["gzip_bytes"] / len(download)
        more = {"download_bytes": len(download), "download_ratio": ratio, "seconds": seconds}
        return {**self._measured(path, content, parent, line), **more}

    def _guide(self, name: str, line: Line, seed: int) -> dict[str, Any]:
        parent, public = self._parent(line.model, seed), self._data(line.model).public
        path = f"{name}-guide-{seed}-{key_of(parent.name, Path(tfmot_guide.__file__).read_text())}"

        def make() -> bytes:
            keras.utils.set_random_seed(seed)
            return tfmot_guide.GUIDES[line.guide](parent.model, scaled(public.images), public.labels)

        content, seconds = self._state.file(f"{path}.tflite", make)
        return {**self._measured(path, content, parent, line), "seconds": seconds}

    def _measured(self, path: str, content: bytes, parent: Parent, line: Line) -> dict[str, Any]:
        """What a file is, and how it compares with its parent."""
        scored = self._data(line.model).scored
        before = self._state.classes(parent.name, parent.file, scored)
        counts = paired(scored.labels, before, self._state.classes(path, content, scored))
        small, large = sizes(content), sizes(parent.file)
        kernels = [w for w in read(content).weights if w.operator != "DEPTHWISE_CONV_2D"]
        tell(f"{path}: {100 * counts.variant_accuracy:.2f} %, drop {100 * counts.drop:.2f}, {small['gzip_bytes']:,} B")
        return {
            "accuracy": counts.variant_accuracy,
            "parent": counts.parent_accuracy,
            "drop": counts.drop,
            "drop_interval": [-drop_bound(counts.swapped(), _ALPHA), drop_bound(counts, _ALPHA)],
            "bytes": small["bytes"],
            "gzip_bytes": small["gzip_bytes"],
            "gzip_ratio": large["gzip_bytes"] / small["gzip_bytes"],
            "zeros": min(w.sparsity() for w in kernels),
            "distinct": max(w.distinct() for w in kernels),
        }

    def _made_parent(self, model: str, seed: int) -> Parent:
        keras.utils.set_random_seed(seed)
        made = BUILD[model]()
        name = f"{model}-parent-{seed}-{key_of(made.to_json(), TRAINERS[model])}"
        with tempfile.NamedTemporaryFile(suffix=".h5") as file:

            def trained() -> bytes:
                train(model, made, self._data(model))
                made.save_weights(file.name)
                return Path(file.name).read_bytes()

            Path(file.name).write_bytes(self._state.file(f"{name}.h5", trained)[0])
            made.load_weights(file.name)
        shipped = deployable(made)
        return Parent(name=name, model=shipped, file=convert(shipped, "float32"))


def merged(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean over seeds of each figure, of zeros and distinct values the worst, and the runs."""
    names = [name for name in runs[0] if name != "drop_interval"]
    return {**{name: _OVER_SEEDS.get(name, np.mean)([run[name] for run in runs]) for name in names}, "runs": runs}


def missed_bounds(lines: dict[str, Any], bounds: dict[str, Any]) -> list[str]:
    """Which figures of ours are on the wrong side of their bound, of the lines that were run."""
    missed = []
    for line in sorted(set(lines) & set(bounds)):
        found = lines[line]["ours"]
        over = [name for name, most in bounds[line].get("at_most", {}).items() if not found[name] <= most]
        under = [name for name, least in bounds[line].get("at_least", {}).items() if not found[name] >= least]
        missed += [f"{line}: {name}" for name in over + under]
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument("--lines", nargs="+", choices=LINES, default=list(LINES))
    parser.add_argument("--state", type=Path, default=Path(tempfile.gettempdir(), "lockgate-compression"))
    parser.add_argument("--source", type=Path, help="folder of the four idx.gz files")
    arguments = parser.parse_args()
    bench = Bench(arguments.split, arguments.source, State(arguments.state, arguments.split))
    found = {name: bench.run(name) for name in arguments.lines}
    missed = missed_bounds(found, json.loads(BASELINE.read_text())["bounds"])
    shown = json.loads(json.dumps(found), parse_float=lambda digits: round(float(digits), 5))
    print(json.dumps({"split": arguments.split, "lines": shown, "missed": missed}, indent=1))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
