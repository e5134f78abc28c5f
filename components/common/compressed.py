"""A model on its way through a recipe, with what the stages so far promised of the file that will ship."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from components.common.kernels import Kernel, kernels, skipped
from components.common.legacy_keras import keras
from components.common.models import load_model, save_model
from components.common.projections import Centroids, FixedZeros, Held, Projection

Tune = Callable[[keras.Model, Held], None]  # trains a model in place, its kernels held


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What stages owe the file of one kernel: its fraction of zeros, and the most distinct values it holds, in all or,
    `per_channel`, in each output channel. None: nothing was promised."""

    sparsity: float | None = None
    clusters: int | None = None
    per_channel: bool = False


@dataclass(frozen=True, kw_only=True)
class Compressed:
    """A model, the promises by kernel, and why layers were skipped, by stage and layer."""

    model: keras.Model
    promises: dict[str, Promise] = dataclasses.field(default_factory=dict)
    skipped: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)

    @property
    def clustered(self) -> bool:
        """Whether a kernel is to hold few distinct values."""
        return any(promise.clusters is not None for promise in self.promises.values())

    def after(
        self, stage: str, model: keras.Model, promises: dict[str, Promise], spared: dict[str, str] | None = None
    ) -> "Compressed":
        """What a stage made of this; `promises` are all that hold now, `spared` why kernels stayed as they were."""
        reasons = {**skipped(model), **(spared or {})}
        return Compressed(model=model, promises=promises, skipped={**self.skipped, stage: reasons})

    def fingerprint(self) -> str:
        """A hash of architecture, weights and promises: the same for the same, wherever and whenever it was saved."""
        digest = hashlib.sha256(json.dumps([self.model.to_json(), self._promises()]).encode())
        for weights in self.model.get_weights():
            digest.update(weights.tobytes())
        return digest.hexdigest()

    def save(self, uri: str) -> None:
        """Writes the model, and the rest as `promises.json`, under `uri`."""
        save_model(self.model, uri)
        told = {"promises": self._promises(), "skipped": self.skipped}
        Path(uri, "promises.json").write_text(json.dumps(told, indent=2))

    def _promises(self) -> dict[str, dict]:
        return {name: dataclasses.asdict(promise) for name, promise in self.promises.items()}


def load_compressed(uri: str) -> Compressed:
    """Reads what `save` wrote; a parent has no promises to keep."""
    path = Path(uri, "promises.json")
    told = json.loads(path.read_text()) if path.exists() else {"promises": {}, "skipped": {}}
    promises = {name: Promise(**fields) for name, fields in told["promises"].items()}
    return Compressed(model=load_model(uri), promises=promises, skipped=told["skipped"])


def projections_for(promise: Promise | None, kernel: Kernel) -> list[Projection]:
    """What holds a kernel to a promise that it keeps already."""
    if promise is None:
        return []
    values = kernel.variable.numpy()
    held: list[Projection] = [FixedZeros(values)] if promise.sparsity is not None else []
    if promise.clusters is not None:
        held.append(Centroids(_distinct(rows_of(values, kernel, promise.per_channel)), kernel.channel_axis))
    return held


def by_channel(values: np.ndarray, axis: int) -> np.ndarray:
    """A kernel as one row an output channel."""
    return np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)


def rows_of(values: np.ndarray, kernel: Kernel, per_channel: bool) -> np.ndarray:
    """The values of a kernel that share centroids, a row each: those of an output channel, or all."""
    return by_channel(values, kernel.channel_axis) if per_channel else values.reshape(1, -1)


def held(
    model: keras.Model,
    promises: dict[str, Promise],
    added: dict[str, list[Projection]],
    others: Iterable[tuple[tf.Variable, list[Projection]]] = (),
) -> Held:
    """Holds a model's kernels to earlier promises and to what a stage adds, and `others` that no promise is made of."""
    pairs = list(others)
    for name, kernel in kernels(model).items():
        projections = projections_for(promises.get(name), kernel) + added.get(name, [])
        if projections:
            pairs.append((kernel.variable, projections))
    return Held(pairs)


def _distinct(rows: np.ndarray) -> np.ndarray:
    """The distinct values but zero of each row, ascending, float32 [rows, most]; a row of fewer repeats its last."""
    found = [np.unique(row[row != 0]) for row in rows]
    found = [values if len(values) else np.zeros(1) for values in found]
    most = max(len(values) for values in found)
    return np.stack([np.pad(values, (0, most - len(values)), "edge") for values in found]).astype(np.float32)
