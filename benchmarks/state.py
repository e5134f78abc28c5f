"""What a benchmark has finished, in a folder: a second start goes on from it, and other settings make other files."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.dp_accuracy import replace, tell
from components.common.examples import Split, scaled
from components.common.tflite import TFLiteModel


def key_of(*settings: Any) -> str:
    """Names a file by all that it was made from: dataclasses, or what JSON can hold; 12 hexadecimal digits."""
    said = json.dumps([dataclasses.asdict(s) if dataclasses.is_dataclass(s) else s for s in settings], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:12]


class State:
    """A folder of finished files and of what they scored."""

    def __init__(self, folder: Path, split: str):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._split = folder, split

    def file(self, name: str, make: Callable[[], bytes]) -> tuple[bytes, float]:
        """The file of that name, made if it is not there, and the seconds that it took."""
        path = self._path(name)
        seconds = path.with_name(f"{path.name}.seconds")
        if not seconds.exists():
            started = time.monotonic()
            replace(path, make())
            replace(seconds, str(round(time.monotonic() - started, 1)).encode())
            tell(f"{name}: {seconds.read_text()} s")
        return path.read_bytes(), float(seconds.read_text())

    def note(self, name: str, facts: Any = None) -> Any:
        """Keeps what JSON can hold under a name, or gives what was kept."""
        path = self._path(f"{name}.json")
        if facts is not None:
            replace(path, json.dumps(facts).encode())
        return json.loads(path.read_text())

    def classes(self, name: str, content: bytes, scored: Split) -> np.ndarray:
        """The classes that a `.tflite` predicts, int64 [n]: scored once, then remembered."""
        path = self._path(f"{name}.{self._split}.npy")
        if not path.exists():
            aside = path.with_name(f".{path.name}")
            np.save(aside, TFLiteModel(content).scores(scaled(scored.images)).argmax(1))
            aside.replace(path)
        return np.load(path)

    def _path(self, name: str) -> Path:
        return self._folder / name.replace("/", "_")
