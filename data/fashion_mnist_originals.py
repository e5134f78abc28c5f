"""The four idx.gz files that Zalando published as Fashion-MNIST: found, checked and parsed."""

import gzip
import hashlib
import http.client
import math
import struct
import tempfile
import urllib.request
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CLASSES = 10
_IMAGE = (28, 28)
_PREFIXES = {"train": "train", "test": "t10k"}  # how the files call the two splits
_TIMEOUT_S = 60
_MAX_BYTES = 64 * 2**20  # the largest original has 47,040,016; no server's answer may fill the memory


class SourceError(Exception):
    """The originals are missing or are not Fashion-MNIST: the remedy is another source."""


@dataclass(frozen=True, kw_only=True)
class Origins:
    """Where the originals may come from, in this order, and what they must be.

    debian: folder of the Debian package dataset-fashion-mnist. mirrors: addresses of folders with the files.
    sha256: by file name, of the content without gzip (Debian, for one, compresses it again).
    """

    debian: Path
    mirrors: tuple[str, ...]
    sha256: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Split:
    """A split of the originals. images: uint8 [n, 28, 28] in [0, 255]; labels: uint8 [n] in [0, 9]."""

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self):
        if len(self.images) != len(self.labels):
            raise SourceError(f"{len(self.images)} images must have as many labels. Received: {len(self.labels)}")
        if self.labels.max(initial=0) >= CLASSES:
            raise SourceError(f"labels must be in [0, {CLASSES - 1}]. Received: {self.labels.max()}")


ORIGINS = Origins(
    debian=Path("/usr/share/datasets/fashion-mnist"),
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ),
    sha256={
        "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
)


def parse_idx(content: bytes, name: str) -> np.ndarray:
    """Parses an idx file (big-endian header, then bytes).

    Args:
        content: the whole file, without gzip.
        name: says whether images or labels are expected.

    Returns:
        uint8 [n, 28, 28] for images, uint8 [n] for labels.

    Raises:
        SourceError: the magic number, image size or length is another than name and header promise.
    """
    shape = _IMAGE if "images" in name else ()
    header = struct.Struct(f">{2 + len(shape)}I")
    if len(content) < header.size:
        raise SourceError(f"{name} must have {header.size} bytes or more. Received: {len(content)}")
    magic, count, *found = header.unpack_from(content)
    wanted = 0x0801 + len(shape)  # 08: unsigned bytes; 01 or 03: the number of dimensions
    if magic != wanted:
        raise SourceError(f"{name} must have the magic number {wanted}. Received: {magic}")
    if tuple(found) != shape:
        raise SourceError(f"{name} must hold images of {shape}. Received: {tuple(found)}")
    length = header.size + count * math.prod(shape)
    if len(content) != length:
        raise SourceError(f"{name} must have {length} bytes for {count} entries. Received: {len(content)}")
    return np.frombuffer(content, np.uint8, offset=header.size).reshape(count, *shape)


def read_originals(folder: Path, sha256: Mapping[str, str]) -> dict[str, Split]:
    """Reads and checks the four idx.gz files of a folder.

    Returns:
        The splits "train" and "test".

    Raises:
        SourceError: a file is absent, damaged, or has other content than `sha256` says.
    """
    arrays = {}
    for name, expected in sha256.items():
        try:
            with gzip.open(folder / name) as file:
                content = file.read(_MAX_BYTES)
        except (OSError, EOFError, zlib.error) as error:
            raise SourceError(f"{name} must be a whole gzip file. Received: {reason(error)}") from None
        arrays[name] = parse_idx(content, name)
        received = hashlib.sha256(content).hexdigest()
        if received != expected:
            raise SourceError(f"{name} must have content with sha256 {expected}. Received: {received}")
    images, labels = "{}-images-idx3-ubyte.gz", "{}-labels-idx1-ubyte.gz"
    return {
        split: Split(images=arrays[images.format(prefix)], labels=arrays[labels.format(prefix)])
        for split, prefix in _PREFIXES.items()
    }


def find_originals(source: Path | None, origins: Origins) -> dict[str, Split]:
    """Reads the originals from `source` if given, else Debian's package, else the first good mirror.

    Raises:
        SourceError: none can be used. A folder on this machine is refused, never passed over for a download.
    """
    local = source or (origins.debian if origins.debian.is_dir() else None)
    if local:
        try:
            return read_originals(local, origins.sha256)
        except SourceError as error:
            raise SourceError(f"Fashion-MNIST cannot be read from {local}: {error}") from None
    tried = [f"{origins.debian}: not there"]
    for mirror in origins.mirrors:
        with tempfile.TemporaryDirectory(prefix="fashion-mnist-") as folder:
            try:
                _download(mirror, Path(folder), origins.sha256)
                return read_originals(Path(folder), origins.sha256)
            except SourceError as error:
                tried.append(f"{mirror}: {error}")
    raise SourceError(f"Fashion-MNIST was found nowhere. Tried {'; '.join(tried)}")


def _download(mirror: str, folder: Path, names: Mapping[str, str]) -> None:
    print(f"downloading from {mirror}")
    for name in names:
        try:
            with urllib.request.urlopen(f"{mirror.rstrip('/')}/{name}", timeout=_TIMEOUT_S) as answer:
                (folder / name).write_bytes(answer.read(_MAX_BYTES))
        except (OSError, http.client.HTTPException) as error:
            raise SourceError(f"{name} must be there. Received: {reason(error)}") from None


def reason(error: Exception) -> str:
    """What an exception says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__
