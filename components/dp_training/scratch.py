"""Private examples read by index, from a file that nobody else can open and that goes with the process."""

import os
import tempfile
from collections.abc import Iterable

import numpy as np

from components.common.examples import Split


class ScratchExamples:
    """Decoded examples in an unnamed file: it has no name in any folder, so it is gone when the process is, however
    that ends. Memory does not grow with the number of examples.

    Args:
        pieces: the examples in order; at least one, all with images (or features) of one shape and dtype.
        folder: on whose file system the file lies; the bytes of an image and 8 more an example.

    Raises:
        OSError: the file system is full, or cannot be written.
    """

    def __init__(self, pieces: Iterable[Split], folder: str):
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed by close(), mode 0600
        self._count = 0
        for batch in pieces:
            self._record = np.dtype([("label", "<i8"), ("image", batch.images.dtype, batch.images.shape[1:])])
            rows = np.empty(len(batch), self._record)
            rows["label"], rows["image"] = batch.labels, batch.images
            self._file.write(rows.tobytes())
            self._count += len(batch)

    def __len__(self) -> int:
        return self._count

    def take(self, indices: np.ndarray) -> Split:
        """The examples at int64 [n] indices, in that order."""
        size, descriptor = self._record.itemsize, self._file.fileno()
        rows = np.frombuffer(b"".join(os.pread(descriptor, size, int(i) * size) for i in indices), self._record)
        return Split(images=rows["image"], labels=rows["label"].astype(np.int64))

    def close(self) -> None:
        """Gives the file back; it is then gone."""
        self._file.close()

    def __enter__(self) -> "ScratchExamples":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def scratch_folder(uri: str) -> str:
    """Where private examples are copied to: beside the artifact at `uri` if that is on this machine."""
    return uri if os.path.isdir(uri) else tempfile.gettempdir()
