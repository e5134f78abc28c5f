"""Whether the file that ships keeps what the stages promised, kernel by kernel.

The converter renames tensors, so the tensor of a kernel is found by what it holds.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.common.compressed import Compressed, by_channel
from components.common.errors import ModelError
from components.common.kernels import Kernel, kernels
from components.shipped.reading import Contents, Weight

_UNLIKE = 0.5  # relative distance from which two tensors are not the same weights; rounding to int8 stays far below


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What was promised of one kernel (see `components.common.compressed.Promise`), and what its tensor holds.

    tensor: where its values start in the file, in bytes. clusters: the largest number of distinct stored values, in the
    whole tensor or, `per_channel`, in one output channel: where it was promised so, and where channels have scales of
    their own.
    """

    layer: str
    tensor: int
    dtype: str
    promised_sparsity: float | None
    promised_clusters: int | None
    per_channel: bool
    sparsity: float
    clusters: int

    def broken(self) -> str | None:
        """What is not as promised, None if all is."""
        if self.promised_sparsity is not None and self.sparsity < self.promised_sparsity - 1e-9:
            found, promised = 100 * self.sparsity, 100 * self.promised_sparsity
            return f"layer {self.layer} must hold {promised:.2f} % zeros in the file. Received: {found:.2f} %"
        if self.promised_clusters is not None and self.clusters > self.promised_clusters:
            where = " a channel" if self.per_channel else ""
            promised = f"at most {self.promised_clusters} distinct values{where} in the file"
            return f"layer {self.layer} must hold {promised}. Received: {self.clusters}"
        return None


def kept(made: Compressed, file: Contents) -> list[Kept]:
    """What the file holds of every kernel of the model that it was converted from.

    Raises:
        ModelError: no tensor of the file has a kernel's weights.
    """
    found = []
    for name, kernel in kernels(made.model).items():
        promise, tensor = made.promises.get(name), _tensor_of(name, kernel, file)
        per_channel = tensor.scale_axis is not None or bool(promise and promise.per_channel)
        found.append(
            Kept(
                layer=name,
                tensor=tensor.start,
                promised_sparsity=promise.sparsity if promise else None,
                promised_clusters=promise.clusters if promise else None,
                per_channel=per_channel,
                **_held_by(tensor, per_channel),
            )
        )
    return found


def require_kept(found: list[Kept]) -> None:
    """Raises ModelError, with the layer, for the first promise that the file does not keep."""
    broken = next((line for k in found if (line := k.broken())), None)
    if broken:
        raise ModelError(broken)


def read_again(before: list[Kept], file: Contents) -> list[Kept]:
    """The same tensors read once more from a file that is said to be the same."""
    tensors = {w.start: w for w in file.weights}
    again = []
    for k in before:
        if k.tensor not in tensors:
            raise ModelError(f"layer {k.layer} must be at byte {k.tensor} of the file. Received: no weights there")
        again.append(dataclasses.replace(k, **_held_by(tensors[k.tensor], k.per_channel)))
    return again


def _held_by(tensor: Weight, per_channel: bool) -> dict[str, Any]:
    """The fields of `Kept` that are read from the file."""
    clusters = tensor.distinct_in_a_channel() if per_channel else tensor.distinct()
    return {"dtype": tensor.dtype, "sparsity": tensor.sparsity(), "clusters": clusters}


def _tensor_of(name: str, kernel: Kernel, file: Contents) -> Weight:
    rows = by_channel(kernel.variable.numpy(), kernel.channel_axis)
    alike = [w for w in file.weights if w.values.shape[0] == len(rows) and w.values.size == rows.size]
    distances = [_distance(rows, w.real().reshape(len(rows), -1)) for w in alike]
    if not distances or min(distances) > _UNLIKE:
        raise ModelError(f"layer {name} must be in the file. No tensor of it holds weights like its kernel")
    return alike[int(np.argmin(distances))]


def _distance(rows: np.ndarray, stored: np.ndarray) -> float:
    """Relative distance of two kernels, float32 [channels, weights], whose channels may have been scaled on the way."""
    if not np.any(stored):
        return 2.0 * np.any(rows)
    scale = np.sum(rows * stored, axis=1, keepdims=True) / np.maximum(np.sum(rows * rows, axis=1, keepdims=True), 1e-30)
    return float(np.linalg.norm(rows * scale - stored) / np.linalg.norm(stored))
