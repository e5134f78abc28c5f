"""Fashion-MNIST as TFRecords in a span folder, one folder a role: the embedded sample, or the whole set.

    python data/fashion_mnist.py sample [--output DIR] [--source DIR]
    python data/fashion_mnist.py full   [--output DIR] [--source DIR]

A record is a `tf.train.Example`: `id` (bytes: split and row in the originals, as in b"train-01234"), `image`
(bytes: a PNG of 28x28 grey pixels), `label` (int64 in [0, 9]). README.md says what each role is for.
"""

import argparse
import io
import os
import re
import signal
import sys
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from fashion_mnist_originals import CLASSES, ORIGINS, Origins, SourceError, Split, find_originals, reason

_HERE = Path(__file__).resolve().parent
_SEED = 2017
_SPAN = "span-1"
_SHARD = 1000  # images a file, so that a configuration can name a part of a split
_FILE = "images-{index:05d}-of-{count:05d}.tfrecord"
_OWN = re.compile(r"images-\d{5}-of-\d{5}\.tfrecord")
_ROLES = ("train", "public", "validation", "holdout")


class OutputError(Exception):
    """The records cannot be written where they are wanted: the remedy is another `--output`, or room."""


@dataclass(frozen=True, kw_only=True)
class Carve:
    """How many images of each class a role takes; holdout takes what validation leaves of the test set.

    Of a class's training images, in seeded order, public comes from the first `reserved` and train from
    the rest.
    """

    train: int
    public: int
    reserved: int
    validation: int

    def __post_init__(self):
        if not 0 < self.public <= self.reserved:
            raise ValueError(f"`public` must be in [1, {self.reserved}]. Received: public={self.public}")


# `reserved` is the same in both, so that no public image of the one is a private image of the other.
CARVES = {
    "sample": Carve(train=1800, public=200, reserved=600, validation=200),
    "full": Carve(train=5400, public=600, reserved=600, validation=200),
}
OUTPUTS = {"sample": _HERE / "fashion-mnist", "full": _HERE / "fashion-mnist-full"}
REMEDY = "Remedy: `apt-get install dataset-fashion-mnist`, or `--source DIR` with the four idx.gz files"


def carve_rows(splits: Mapping[str, Split], carve: Carve) -> dict[str, tuple[str, np.ndarray]]:
    """Chooses the rows of each role, in the order in which they are written; the same every time.

    Returns:
        By role: the name of its split, and int64 [n] of rows in that split.

    Raises:
        SourceError: a class has fewer images than `carve` wants.
    """
    train = _rows_by_class(splits["train"].labels, stream=0)
    test = _rows_by_class(splits["test"].labels, stream=1)
    rows = {
        "train": ("train", _slice(train, carve.reserved, carve.reserved + carve.train)),
        "public": ("train", _slice(train, 0, carve.public)),
        "validation": ("test", _slice(test, 0, carve.validation)),
        "holdout": ("test", np.concatenate([pool[carve.validation :] for pool in test])),
    }
    shuffled = {}
    for stream, role in enumerate(_ROLES, start=2):
        split, chosen = rows[role]
        shuffled[role] = (split, np.random.default_rng([_SEED, stream]).permutation(chosen))
    return shuffled


def write_span(splits: Mapping[str, Split], carve: Carve, output: Path) -> dict[str, int]:
    """Writes every role's files under `output`/span-1, all of them or none, and replaces an earlier span-1.

    Returns:
        The number of records, by role.

    Raises:
        SourceError: a class has fewer images than `carve` wants.
        OutputError: the folder cannot be written.
    """
    rows = carve_rows(splits, carve)
    new_folder = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{_SPAN}-", dir=output) as scratch:
            for role, (split, chosen) in rows.items():
                folder = Path(scratch, "new", role)
                folder.mkdir(parents=True)
                shards = [chosen[i : i + _SHARD] for i in range(0, len(chosen), _SHARD)]
                for index, shard in enumerate(shards):
                    name = _FILE.format(index=index, count=len(shards))
                    _write_records(folder / name, split, splits[split], shard)
            _swap(output / _SPAN, Path(scratch))
    except OSError as error:
        raise OutputError(f"`--output` must be a folder with room. Received: {output} ({reason(error)})") from None
    finally:
        if new_folder and output.is_dir() and not any(output.iterdir()):
            output.rmdir()
    return {role: len(chosen) for role, (_, chosen) in rows.items()}


def require_replaceable(output: Path) -> None:
    """Raises OutputError if `output`/span-1 holds files other than those that this script writes."""
    span = output / _SPAN
    found = (p.relative_to(span) for p in span.rglob("*") if not p.is_dir())
    foreign = sorted(p for p in found if str(p.parent) not in _ROLES or not _OWN.fullmatch(p.name))
    if foreign:
        raise OutputError(f"{span} must hold only files that this script writes. Received: {foreign[0]}")


def main(arguments: list[str] | None = None, origins: Origins = ORIGINS) -> int:
    """Runs a command.

    Returns:
        The exit code: 0, or 2 where the originals or the output folder are not as they must be.
    """
    options = _parser().parse_args(arguments)
    output = options.output or OUTPUTS[options.command]
    try:
        require_replaceable(output)
        counts = write_span(find_originals(options.source, origins), CARVES[options.command], output)
    except (SourceError, OutputError) as error:
        print(f"{error}. {REMEDY}" if isinstance(error, SourceError) else error, file=sys.stderr)
        return 2
    for role, count in counts.items():
        folder = output / _SPAN / role
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{role:<10} {count:>6} images {size / 1e6:>5.1f} MB  {folder}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Writes Fashion-MNIST as TFRecords, one folder a role.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("sample", "20,000 + 10,000 images"), ("full", "60,000 + 10,000 images")):
        command = commands.add_parser(name, help=text, description=text)
        where = f"default: {OUTPUTS[name].name} beside the script"
        command.add_argument("--output", type=Path, metavar="DIR", help=where)
        command.add_argument("--source", type=Path, metavar="DIR", help="folder with the four idx.gz files")
    return parser


def _rows_by_class(labels: np.ndarray, stream: int) -> list[np.ndarray]:
    order = np.random.default_rng([_SEED, stream]).permutation(len(labels))
    return [order[labels[order] == label] for label in range(CLASSES)]


def _slice(pools: list[np.ndarray], start: int, stop: int) -> np.ndarray:
    for label, pool in enumerate(pools):
        if len(pool) < stop:
            raise SourceError(f"class {label} must have at least {stop} images. Received: {len(pool)}")
    return np.concatenate([pool[start:stop] for pool in pools])


def _write_records(path: Path, name: str, split: Split, rows: np.ndarray) -> None:
    tf = _tensorflow()
    try:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for row in rows:
                key = tf.train.BytesList(value=[f"{name}-{row:05d}".encode()])
                image = tf.train.BytesList(value=[_encode_png(split.images[row])])
                label = tf.train.Int64List(value=[int(split.labels[row])])
                feature = {
                    "id": tf.train.Feature(bytes_list=key),
                    "image": tf.train.Feature(bytes_list=image),
                    "label": tf.train.Feature(int64_list=label),
                }
                example = tf.train.Example(features=tf.train.Features(feature=feature))
                writer.write(example.SerializeToString(deterministic=True))
    except tf.errors.OpError as error:
        raise OSError(error.message) from None


def _tensorflow() -> ModuleType:
    """Imports TensorFlow: here, since it takes seconds, and without what it and Google's libraries print."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"google\.")
        import tensorflow as tf
    return tf


def _encode_png(image: np.ndarray) -> bytes:
    """Encodes uint8 [28, 28] as a grey PNG, as small as Pillow makes it."""
    from PIL import Image

    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "PNG", optimize=True)
    return encoded.getvalue()


def _swap(span: Path, scratch: Path) -> None:
    """Puts scratch/new where `span` is; what was there before goes into scratch, or back if that fails."""
    old = scratch / "old"
    if span.exists():
        span.rename(old)
    try:
        (scratch / "new").rename(span)
    except BaseException:
        if old.exists() and not span.exists():
            old.rename(span)
        raise


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
