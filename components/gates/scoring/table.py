"""The table of answers on `holdout`, a Parquet row an example: everything that gates say of a model's answers is
arithmetic on it.

Columns: `digest` (of pixels and label), `id`, `label` (int64), `slice:NAME` (strings) a named feature and, a model,
`class:MODEL` (int64, -1 where a score is not finite) and `scores:MODEL` (float32 a class).
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.common.errors import GateError

PARENT, SERVING, BEST = "parent", "serving", "best"


def variant_key(recipe: str) -> str:
    """The name of a variant among the models of a table; no other model has one like it."""
    return f"variant:{recipe}"


def schema(models: tuple[str, ...], slices: tuple[str, ...], classes: int) -> pa.Schema:
    """The columns for these models and named features."""
    scores = pa.list_(pa.float32())
    fields = [("digest", pa.string()), ("id", pa.string()), ("label", pa.int64())]
    fields += [(f"slice:{name}", pa.string()) for name in slices]
    for model in models:
        fields += [(f"class:{model}", pa.int64()), (f"scores:{model}", scores)]
    return pa.schema(fields)


def fingerprint(digests: Iterable[str]) -> str:
    """Names a set of examples by their digests, in whatever order."""
    return hashlib.sha256("".join(sorted(set(digests))).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Table:
    """Answers on n distinct examples, in an order that is theirs alone.

    labels: int64 [n]. slices: strings [n] a named feature. predictions: int64 [n] a model. scores: float32 [n, classes]
    a model. duplicates: rows left out because another is of the same pixels and label. digests: strings [n], ascending.
    """

    labels: np.ndarray
    slices: dict[str, np.ndarray]
    predictions: dict[str, np.ndarray]
    scores: dict[str, np.ndarray]
    duplicates: int
    digests: np.ndarray

    @property
    def fingerprint(self) -> str:
        """Names the examples, in whatever files and order they were."""
        return fingerprint(self.digests)


def read_table(folder: str, models: tuple[str, ...], slices: tuple[str, ...], classes: int) -> Table:
    """Reads the Parquet files of a folder.

    Raises:
        GateError: there are none, or a column is missing or of another type.
    """
    wanted = schema(models, slices, classes)
    try:
        found = pq.read_table(folder, columns=wanted.names, use_legacy_dataset=False)
        if set(wanted.names) - set(found.column_names):
            raise KeyError(sorted(set(wanted.names) - set(found.column_names))[0])
        found = found.select(wanted.names).cast(wanted)
    except (OSError, KeyError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise GateError(f"the table of answers on holdout must be whole. Received: {folder} ({reason})") from None
    rows = found.sort_by([("digest", "ascending"), ("id", "ascending")])
    digests = np.array(rows["digest"].to_pylist(), dtype=str)
    first = np.concatenate([[True], digests[1:] != digests[:-1]]) if len(digests) else np.zeros(0, bool)
    return Table(
        labels=rows["label"].to_numpy()[first],
        slices={name: np.array(rows[f"slice:{name}"].to_pylist(), dtype=str)[first] for name in slices},
        predictions={m: rows[f"class:{m}"].to_numpy()[first] for m in models},
        scores={m: _matrix(rows[f"scores:{m}"], classes)[first] for m in models},
        duplicates=int(np.sum(~first)),
        digests=digests[first],
    )


def _matrix(column: pa.ChunkedArray, classes: int) -> np.ndarray:
    flat = np.concatenate([np.zeros(0, np.float32), *(c.flatten().to_numpy() for c in column.chunks)])
    if len(flat) != len(column) * classes:
        held = f"{len(flat)} in {len(column)} rows"
        raise GateError(f"every row of the table must hold {classes} scores. Received: {held}")
    return flat.reshape(len(column), classes)
