"""Whose a private record is, and that it is in one span: what the ledger's sums rest on."""

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import tensorflow as tf

from components.common.errors import DataError
from components.common.examples import readable
from components.example_gen.config import PRIVATE, DataConfig
from components.example_gen.core import role_files, spans_in

_KEYS = {key: tf.io.FixedLenFeature([], tf.string, default_value="") for key in ("id", "person")}
_SHOWN = 5


def check_owners(
    examples_uri: str, data: DataConfig, span: int, records_per_person: int, earlier: Sequence[str] = ()
) -> None:
    """Checks the private records of a span by their features `id` and `person`; a record without either passes.

    Args:
        examples_uri: of the span's Examples artifact. data: where the other spans are. span: its number.
        records_per_person: the most that one person may have, in all of the spans that are trained on together.
        earlier: uris of the Examples artifacts of the others.

    Raises:
        DataError: an id is there twice or in another span too, or a person has too many records. It names the first
            few ids, and no person.
    """
    for role in PRIVATE:
        own = list(_keys(role, _split(examples_uri, role), "GZIP"))
        others = list(_keys(role, [file for uri in earlier for file in _split(uri, role)], "GZIP"))
        ids = Counter(id for id, _ in own if id)
        _raise_if([id for id, count in ids.items() if count > 1], "be in a span once")
        _raise_if([id for id in _elsewhere(data, role, span) if id in ids], "be in one span")
        together = Counter(id for id, _ in [*own, *others] if id)
        _raise_if([id for id, count in together.items() if count > 1], "be in one span")
        most = max(Counter(person for _, person in [*own, *others] if person).values(), default=0)
        if most > records_per_person:
            must = f"have at most privacy.records_per_person = {records_per_person} records"
            raise DataError(f"a person must {must}, or ε does not hold for them. Received: {most} of one person")


def _split(examples_uri: str, role: str) -> list[str]:
    return sorted(glob.glob(os.path.join(glob.escape(examples_uri), f"Split-{role}", "*")))


def _elsewhere(data: DataConfig, role: str, span: int) -> Iterator[bytes]:
    """The ids of a role's records in all other spans, as far as they can be read: what is half-written or damaged
    there is compared when its own span is checked, which nothing trains on before."""
    pattern = getattr(data.roles, role)
    root = Path(data.root)
    others = (other for other in spans_in(root, pattern) if other != span)
    files = [str(file) for other in others for file in role_files(root, pattern, other)]

    def readable_rows(file: tf.Tensor) -> tf.data.Dataset:
        return tf.data.TFRecordDataset(file).ignore_errors().batch(1024).map(_parsed).ignore_errors()

    rows = tf.data.Dataset.from_tensor_slices(tf.constant(files, tf.string)).flat_map(readable_rows)
    yield from (id for batch in rows.as_numpy_iterator() for id in batch["id"] if id)


def _keys(role: str, files: Iterable[str], compression: str) -> Iterator[tuple[bytes, bytes]]:
    dataset = tf.data.TFRecordDataset(list(files), compression).batch(1024)
    with readable(role):
        for batch in dataset.map(_parsed).as_numpy_iterator():
            yield from zip(batch["id"], batch["person"], strict=True)


def _parsed(rows: tf.Tensor) -> dict[str, tf.Tensor]:
    return tf.io.parse_example(rows, _KEYS)


def _raise_if(ids: list[bytes], must: str) -> None:
    if ids:
        shown = ", ".join(id.decode(errors="replace") for id in sorted(set(ids))[:_SHOWN])
        raise DataError(f"a private record must {must}, or its ε is not the ledger's. Received: {shown}")
