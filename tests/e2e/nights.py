"""Nights to retrain in: spans of the embedded images that arrive one by one, and a reader of what serves."""

import hashlib
import json
import multiprocessing
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from components.common.mlmd import connection
from pipeline.config import load
from tests.e2e.conftest import SAMPLE, command, environment

PIPELINE = "nightly"
MARKER = "_SUCCESS"


def write_config(folder: Path, data: Path, /, **changes: dict[str, Any]) -> Path:
    """The tiny preset with one recipe, on spans under `data` of which each brings its own holdout. changes: settings by
    table."""
    tables = load("tiny", [f"data.root={data}"]).as_dict()
    roles = {"train": "span-{SPAN}/train/*", "public": "span-{SPAN}/public/*"}
    own = {"name": PIPELINE, "marker": MARKER, "roles": roles, "shares": {"holdout": 0.4, "validation": 0.1}}
    tables["name"] = PIPELINE
    tables["recipes"] = {"int8": tables["recipes"]["int8"]}
    tables["data"] |= own
    tables["gates"] |= {"off": ["slices"], "planned_decisions": 1}  # a night's holdout is small, and new
    tables["schedule"] |= {"attempts": 2, "backoff_seconds": 0.1}
    for table, settings in changes.items():
        tables[table] |= settings
    file = folder / "nightly.toml"
    file.write_text("\n".join(f"{key} = {_toml(value)}" for key, value in tables.items()))
    return file


def _toml(value: Any) -> str:
    """A value as TOML, tables inline; what is None is left out."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


class Images:
    """Serialized examples of the embedded sample, dealt out in order."""

    def __init__(self, per_night: int):
        self._per_night = per_night
        self._train, self._public = _records("train"), _records("public")

    def arrive(self, data: Path, span: int, only: tuple[int, ...] | None = None, marker: bool = True) -> Path:
        """A span comes in. only: of the public images, those of these classes."""
        folder = data / f"span-{span}"
        first = (span - 1) * self._per_night
        _write(folder / "train", self._train[first : first + self._per_night])
        _write(folder / "public", [r for r in self._public[:500] if only is None or _label(r) in only])
        if marker:
            (folder / MARKER).touch()
        return folder


def _records(role: str) -> list[bytes]:
    files = sorted(str(path) for path in (SAMPLE / "span-1" / role).iterdir())
    return list(tf.data.TFRecordDataset(files).as_numpy_iterator())


def _label(record: bytes) -> int:
    return tf.train.Example.FromString(record).features.feature["label"].int64_list.value[0]


def _write(folder: Path, records: list[bytes]) -> None:
    assert records
    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "images.tfrecord")) as writer:
        for record in records:
            writer.write(record)


def retraining(config: Path, root: Path) -> subprocess.Popen:
    """A retraining, begun."""
    return subprocess.Popen(
        command("retrain", "--config", str(config), root=root),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd="/",
    )


def retrained(config: Path, root: Path, *more: str) -> tuple[int, dict]:
    """A retraining to its end, with more arguments: the exit code, and the object that it printed."""
    done = subprocess.run(
        command("retrain", "--config", str(config), "--json", *more, root=root),
        capture_output=True,
        text=True,
        env=environment(),
        cwd="/",
        timeout=1500,
    )
    assert "Traceback" not in done.stdout + done.stderr and done.stdout, done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout)


def records(root: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(root.glob("runs/*/run.json"))]


def running(root: Path) -> int:
    """How many executions MLMD takes to be running."""
    from ml_metadata import metadata_store
    from ml_metadata.proto.metadata_store_pb2 import Execution

    store = metadata_store.MetadataStore(connection(str(root / "metadata.sqlite")))
    return sum(e.last_known_state in (Execution.NEW, Execution.RUNNING) for e in store.get_executions())


@contextmanager
def watched(root: Path) -> Iterator[list[str]]:
    """Reads what serves in a loop, in another process, and gives what it found wrong, once the context has ended."""
    found: list[str] = []
    stop, told = multiprocessing.Event(), multiprocessing.Queue()
    reader = multiprocessing.get_context("fork").Process(target=_read, args=(root, stop, told), daemon=True)
    reader.start()
    try:
        yield found
    finally:
        stop.set()
        found += told.get(timeout=60)
        reader.join(60)


def _read(root: Path, stop, told) -> None:
    current, problems, reads = root / "serving" / PIPELINE / "current", [], 0
    while not stop.wait(0.005):
        try:
            version = current.parent / os.readlink(current)
        except FileNotFoundError:
            if reads:
                problems.append("nothing serves any more")
            continue
        try:
            manifest = json.loads((version / "manifest.json").read_text())
            model = (version / "model.tflite").read_bytes()
        except (OSError, ValueError) as error:
            problems.append(f"half a version serves: {version}: {error}")
            continue
        if hashlib.sha256(model).hexdigest() != manifest["sha256"]:
            problems.append(f"another model serves than its manifest names: {version}")
        reads += 1
    told.put(problems[:10] if reads or problems else ["nothing was ever served"])


def accuracy(model: Path, images: int = 2000) -> float:
    """Of a served model on pictures of the sample's holdout, which no night has seen."""
    interpreter = tf.lite.Interpreter(str(model))
    interpreter.allocate_tensors()
    (given,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero = given["quantization"]
    right = 0
    for record in _records("holdout")[:images]:
        features = tf.train.Example.FromString(record).features.feature
        image = tf.io.decode_image(features["image"].bytes_list.value[0]).numpy().astype(np.float32) / 255
        value = np.round(image / scale + zero).clip(-128, 127).astype(np.int8)
        interpreter.set_tensor(given["index"], value[None].reshape(given["shape"]))
        interpreter.invoke()
        right += int(interpreter.get_tensor(out["index"]).argmax()) == features["label"].int64_list.value[0]
    return right / images


def served(root: Path) -> Path | None:
    """The model that serves."""
    from components.gates.push.serving import served as found

    current = found(root / "serving" / PIPELINE)
    return current and current[1]
