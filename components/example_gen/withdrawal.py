"""Taking records out of TFRecord files, by their id or by whose they are."""

import os
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from components.common.errors import DataError, ServiceError


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


def take_out(file: Path, withdrawn: Withdrawn) -> int:
    """Rewrites a TFRecord file (gzipped if its name says so) without some records, in one step, mode 0600. A file that
    is left without any is removed.

    Returns:
        How many were taken out; where none was, the file is as it was.

    Raises:
        DataError: the file is damaged; it is as it was. ServiceError: it cannot be written.
    """
    compression = "GZIP" if file.suffix == ".gz" else ""
    aside, kept, gone = file.with_name(f".{file.name}.writing"), 0, 0
    try:
        os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        with tf.io.TFRecordWriter(str(aside), compression) as writer:
            for serialized in tf.data.TFRecordDataset(str(file), compression).as_numpy_iterator():
                if withdrawn.names(serialized):
                    gone += 1
                else:
                    kept += 1
                    writer.write(serialized)
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
