"""Size and accuracy of compressed models on all of Fashion-MNIST, like for like, beside TFMOT's own guides.

    python -m benchmarks.compression [--split test|validation] [--lines MODEL/LINE …] [--state FOLDER] [--source DIR]

Every ratio is the gzip size of the parent's float `.tflite` over that of the file that ships (or over its download).
Parents are trained to their plateau on 54,000 of the training images; levels, rates and epochs were chosen on the
other 6,000, which `--split validation` scores; `--split test` scores the test images, once a file. Each line of ours
has the same technique as TFMOT's guide does it beside it, from the same parent, in the same process. Differences are
paired, with Tango's 95 % interval.

Finished files are kept in the state folder, and a second start goes on from there. Progress goes to stderr, the result
as JSON to stdout. No bounds were set yet, so that it does not fail for a figure.
"""

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT), str(_ROOT / "data")]

import numpy as np  # noqa: E402
from fashion_mnist_originals import ORIGINS, find_originals  # noqa: E402

from benchmarks.compression_lines import LINES, Line, compress  # noqa: E402
from benchmarks.compression_models import BUILD, PLATEAU  # noqa: E402
from benchmarks.dp_accuracy import replace, tell  # noqa: E402
from benchmarks.tfmot_guide import GUIDES  # noqa: E402
from components.common.examples import Split, scaled  # noqa: E402
from components.common.legacy_keras import keras  # noqa: E402
from components.common.public_training import fit  # noqa: E402
from components.common.tflite import TFLiteModel, sizes  # noqa: E402
from components.gates.core import drop_bound  # noqa: E402
from components.gates.measurement import paired  # noqa: E402
from components.quantization.core import convert  # noqa: E402

BASELINE = _ROOT / "benchmarks" / "baselines" / "compression.json"
_HELD_OUT = 6_000
_ALPHA = 0.025  # on each side


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """What is trained on, and what is scored: float32 images in [0, 1] and int64 labels."""

    images: np.ndarray
    labels: np.ndarray
    scored: Split


def load(split: str, source: Path | None) -> Data:
    """The training images without those held out, and the split that is scored."""
    train, test = ((o.images[..., None], o.labels.astype(np.int64)) for o in find_originals(source, ORIGINS).values())
    order = np.random.default_rng(0).permutation(len(train[1]))
    kept, held_out = order[_HELD_OUT:], order[:_HELD_OUT]
    scored = Split(images=test[0], labels=test[1]) if split == "test" else None
    scored = scored or Split(images=train[0][held_out], labels=train[1][held_out])
    return Data(images=scaled(train[0][kept]), labels=train[1][kept], scored=scored)


class State:
    """A folder of finished files and of what they scored."""

    def __init__(self, folder: Path, split: str):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._split = folder, split

    def file(self, name: str, make: Callable[[], bytes]) -> tuple[bytes, float]:
        """The file of that name, made if it is not there, and the seconds that it took."""
        path = self._folder / name.replace("/", "_")
        seconds = path.with_suffix(".seconds")
        if not seconds.exists():
            started = time.monotonic()
            replace(path, make())
            replace(seconds, str(round(time.monotonic() - started, 1)).encode())
            tell(f"{name}: {seconds.read_text()} s")
        return path.read_bytes(), float(seconds.read_text())

    def classes(self, name: str, content: bytes, scored: Split) -> np.ndarray:
        """The classes that a `.tflite` predicts, int64 [n]: scored once, then remembered."""
        path = self._folder / f"{name.replace('/', '_')}.{self._split}.npy"
        if not path.exists():
            np.save(path, TFLiteModel(content).scores(scaled(scored.images)).argmax(1))
        return np.load(path)


def parent_of(model: str, seed: int, data: Data, state: State) -> tuple[keras.Model, bytes]:
    """A trained parent and its float `.tflite`."""
    keras.utils.set_random_seed(seed)
    made = BUILD[model]()

    def train() -> bytes:
        fit(made, data.images, data.labels, PLATEAU[model])
        with tempfile.NamedTemporaryFile(suffix=".h5") as file:
            made.save_weights(file.name)
            return Path(file.name).read_bytes()

    weights, _ = state.file(f"{model}/parent-{seed}.h5", train)
    with tempfile.NamedTemporaryFile(suffix=".h5") as file:
        Path(file.name).write_bytes(weights)
        made.load_weights(file.name)
    return made, convert(made, "float32")


def measured(name: str, seconds: float, content: bytes, parent: tuple[str, bytes], data: Data, state: State) -> dict:
    """What one file is, and how it compares with its parent."""
    before = state.classes(parent[0], parent[1], data.scored)
    after = state.classes(name, content, data.scored)
    counts = paired(data.scored.labels, before, after)
    swapped = dataclasses.replace(counts, parent_only=counts.variant_only, variant_only=counts.parent_only)
    small, large = sizes(content), sizes(parent[1])
    return {
        "accuracy": counts.variant_accuracy,
        "parent": counts.parent_accuracy,
        "drop": counts.drop,
        "drop_interval": [-drop_bound(swapped, _ALPHA), drop_bound(counts, _ALPHA)],
        "bytes": small["bytes"],
        "gzip_bytes": small["gzip_bytes"],
        "gzip_ratio": large["gzip_bytes"] / small["gzip_bytes"],
        "seconds": seconds,
    }


def run_line(key: str, line: Line, data: Data, state: State) -> dict:
    """Ours and the guide's, each seed."""
    found: dict[str, list] = {"ours": [], "guide": []}
    for seed in range(line.seeds):
        model, float_file = parent_of(line.model, seed, data, state)
        parent = (f"{line.model}/parent-{seed}", float_file)
        makers = {"ours": lambda m=model, s=seed: compress(line, m, data.images, data.labels, s)}
        if line.guide:
            makers["guide"] = lambda m=model, s=seed: _guide(line.guide, m, data, s)
        for who, make in makers.items():
            name = f"{key}-{who}-{seed}"
            content, seconds = state.file(f"{name}.tflite", make)
            found[who].append(measured(name, seconds, content, parent, data, state))
            shown = found[who][-1]
            tell(f"{name}: {100 * shown['accuracy']:.2f} %, drop {100 * shown['drop']:.2f}, {shown['gzip_ratio']:.1f}x")
    return {who: {"runs": runs, **_means(runs)} for who, runs in found.items() if runs}


def _guide(name: str, model: keras.Model, data: Data, seed: int) -> bytes:
    keras.utils.set_random_seed(seed)
    return GUIDES[name](model, data.images, data.labels)


def _means(runs: list[dict]) -> dict:
    names = ("accuracy", "parent", "drop", "gzip_bytes", "gzip_ratio", "seconds")
    return {name: float(np.mean([run[name] for run in runs])) for name in names}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument("--lines", nargs="+", choices=LINES, default=list(LINES))
    parser.add_argument("--state", type=Path, default=Path(tempfile.gettempdir(), "lockgate-compression"))
    parser.add_argument("--source", type=Path, help="folder of the four idx.gz files")
    arguments = parser.parse_args()
    data, state = load(arguments.split, arguments.source), State(arguments.state, arguments.split)
    result = {name: run_line(name, LINES[name], data, state) for name in arguments.lines}
    print(json.dumps({"split": arguments.split, "lines": result}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
