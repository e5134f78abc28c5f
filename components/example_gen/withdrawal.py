"""Taking records out of TFRecord files and of copies of them, by their id or by whose they are."""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from components.common import remote
from components.common.errors import DataError, ServiceError

_BEFORE, _AFTER = ".", ".writing"  # a file's name while it is being rewritten
Found = Callable[[str, int], None]  # called with a file's place and how many records go, before they do


@dataclass(frozen=True, kw_only=True)
class Withdrawn:
    """What is taken out. ids: of records, their feature `id`. persons: whose records, their feature `person`."""

    ids: frozenset[str] = frozenset()
    persons: frozenset[str] = frozenset()

    def names(self, serialized: bytes) -> bool:
        """Whether a serialized tf.train.Example is one of them."""
        features = tf.train.Example.FromString(serialized).features.feature
        return any(
            value.decode(errors="replace") in wanted
            for key, wanted in (("id", self.ids), ("person", self.persons))
            for value in features[key].bytes_list.value
        )


def whole(files: Iterable[Path]) -> Iterator[Path]:
    """Those of some files that are whole. What a withdrawal that was killed has half written is removed."""
    for file in files:
        if file.name.startswith(_BEFORE) and file.name.endswith(_AFTER):
            file.unlink(missing_ok=True)
        elif file.is_file():
            yield file


def take_out_of_copy(examples: str, withdrawn: Withdrawn, aside: Path, found: Found) -> None:
    """Rewrites the files of an Examples artifact, in a folder or in a bucket, without some records.

    In a bucket, all files change in one step, and what is no whole artifact is removed: half of a copy that a step did
    not finish, and files of before that a withdrawal which was killed could not remove any more.

    Args:
        examples: its uri. aside: a folder that nobody else can open, for what comes from a bucket.

    Raises:
        DataError, ServiceError: as `take_out`; or the bucket is away.
    """
    if not remote.is_remote(examples):
        for file in whole(sorted(Path(examples).glob("Split-*/*"))):
            take_out(file, withdrawn, found)
        return
    remote.sweep(examples)
    with tempfile.TemporaryDirectory(dir=aside) as folder:
        changed: dict[str, Path | None] = {}
        for position, name in enumerate(n for n in remote.files(examples) if n.startswith("Split-")):
            local = Path(folder, f"{position}-{Path(name).name}")
            remote.download_file(examples, name, local)
            gone = take_out(local, withdrawn)
            if gone:
                found(f"{examples}/{name}", gone)
                changed[name] = local if local.exists() else None
            else:
                local.unlink()
        if changed:
            remote.replace(examples, changed)


def take_out(file: Path, withdrawn: Withdrawn, found: Found = lambda place, count: None) -> int:
    """Rewrites a TFRecord file (gzipped if its name says so) without some records, in one step, mode 0600. A file that
    is left without any is removed.

    Returns:
        How many were taken out; where none was, the file is as it was.

    Raises:
        DataError: the file is damaged; it is as it was. ServiceError: it cannot be written.
    """
    compression = "GZIP" if file.suffix == ".gz" else ""
    aside, kept, gone = file.with_name(f"{_BEFORE}{file.name}{_AFTER}"), 0, 0
    try:
        os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        with tf.io.TFRecordWriter(str(aside), compression) as writer:
            for serialized in tf.data.TFRecordDataset(str(file), compression).as_numpy_iterator():
                if withdrawn.names(serialized):
                    gone += 1
                else:
                    kept += 1
                    writer.write(serialized)
        if gone:
            found(str(file), gone)
        if gone and kept:
            aside.replace(file)
        elif gone:
            file.unlink()
    except (tf.errors.DataLossError, ValueError):
        raise DataError(f"{file} must be a whole TFRecord file of tf.train.Examples. It is damaged") from None
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ServiceError(f"{file} must be writable. Received: {reason}") from None
    finally:
        aside.unlink(missing_ok=True)
    return gone
