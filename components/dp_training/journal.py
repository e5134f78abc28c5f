"""The journal of a training run: how many steps were begun, and the last saved state; a killed one goes on.

A step is counted, durably, before it touches an example. What a kill loses is therefore counted as executed and never
done over: the number of steps that was reserved is never passed. The journal holds weights and optimizer state, which
are outputs of the mechanism, and nothing of the sampler, the noise or a batch.
"""

import io
import os
import time
from pathlib import Path

import numpy as np

from components.common.files import write_durably

_COUNT, _STATE = "executed", "state.npz"


class Journal:
    """A folder with the count and the state, made with mode 0700.

    Args:
        folder: of this run alone; what an earlier process of the run left there is taken up.
        save_seconds: time after which `saved_when_due` saves again.
    """

    def __init__(self, folder: Path, save_seconds: float):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder, self._save_seconds = folder, save_seconds
        self._saved = time.monotonic()
        self._count = os.open(folder / _COUNT, os.O_RDWR | os.O_CREAT, 0o600)
        self.executed = int.from_bytes(os.pread(self._count, 8, 0), "little")

    def begin_step(self) -> None:
        """Counts a step, durably, before it is executed."""
        self.executed += 1
        os.pwrite(self._count, self.executed.to_bytes(8, "little"), 0)
        os.fdatasync(self._count)

    def save(self, state: list[np.ndarray]) -> None:
        """Saves the state in one step: a reader sees the one before or this one, whole."""
        written = io.BytesIO()
        np.savez(written, *state)
        write_durably(self._folder / _STATE, written.getvalue())
        self._saved = time.monotonic()

    def is_due(self) -> bool:
        """Whether the last save is longer ago than it may be."""
        return time.monotonic() - self._saved >= self._save_seconds

    def load(self) -> list[np.ndarray] | None:
        """The last saved state, None if there is none."""
        if not (self._folder / _STATE).exists():
            return None
        with np.load(self._folder / _STATE, allow_pickle=False) as found:
            return [found[f"arr_{i}"] for i in range(len(found.files))]

    def close(self) -> None:
        """Closes the count's file; the folder stays."""
        os.close(self._count)
