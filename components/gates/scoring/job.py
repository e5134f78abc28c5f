"""The Beam job: reads `holdout`, asks every model, writes the table. It runs on any runner.

Nothing is gathered: every example is read, scored by each model and written once, so that the cost grows with the
number of examples times that of models.
"""

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
from apache_beam.io.parquetio import WriteToParquetBatched

from components.common.examples import FEATURES, readable, scaled
from components.gates.measurement import predictions
from components.gates.scoring.models import decoder, digest, scorers
from components.gates.scoring.table import schema

_BATCH = 500


def score(
    pipeline: beam.Pipeline,
    files: list[str],
    models: dict[str, str | None],
    slices: tuple[str, ...],
    shape: tuple[int, ...],
    classes: int,
    folder: str,
) -> None:
    """Adds the job to a pipeline.

    Args:
        pipeline: to add to.
        files: gzipped TFRecords of `holdout`.
        models: path a model, see `scorers`.
        slices: features whose values are slices.
        shape: of the images. classes: number of them.
        folder: where the Parquet files go.
    """
    columns = schema(tuple(models), slices, classes)
    batches = (
        pipeline
        | "Files" >> beam.Create(files)
        | "SpreadFiles" >> beam.Reshuffle()
        | "Read" >> beam.FlatMap(_batches)
        | "SpreadBatches" >> beam.Reshuffle()
    )
    rows = batches | "Score" >> beam.ParDo(_Score(models, slices, shape, classes))
    rows | "Write" >> WriteToParquetBatched(f"{folder}/answers", columns, file_name_suffix=".parquet")


def _batches(file: str):
    with readable("holdout"):
        yield from (list(b) for b in tf.data.TFRecordDataset(file, "GZIP").batch(_BATCH).as_numpy_iterator())


class _Score(beam.DoFn):
    def __init__(self, models, slices, shape, classes):
        self._models, self._slices, self._shape, self._classes = models, slices, shape, classes

    def setup(self):
        self._decode = decoder(self._shape)
        self._scorers = scorers(self._models, self._classes)

    def process(self, serialized: list[bytes]):
        """One batch of serialized examples becomes one piece of the table."""
        with readable("holdout"):
            parsed = tf.io.parse_example(serialized, FEATURES)
            images = self._decode(parsed["image"].numpy())
        labels = parsed["label"].numpy()
        columns = {
            "digest": [digest(image, int(label)) for image, label in zip(images, labels, strict=True)],
            "id": [key.decode(errors="replace") for key in parsed["id"].numpy()],
            "label": labels,
            **self._sliced(serialized),
        }
        floats = scaled(images)
        for name, scorer in self._scorers.items():
            found = scorer(floats).astype(np.float32)
            starts = np.arange(len(found) + 1, dtype=np.int32) * self._classes
            columns[f"class:{name}"] = predictions(found)
            columns[f"scores:{name}"] = pa.ListArray.from_arrays(starts, pa.array(found.ravel()))
        yield pa.Table.from_pydict(columns, schema=schema(tuple(self._models), self._slices, self._classes))

    def _sliced(self, serialized: list[bytes]) -> dict[str, list[str]]:
        if not self._slices:
            return {}
        features = [tf.train.Example.FromString(s).features.feature for s in serialized]
        return {f"slice:{name}": [_value(f, name) for f in features] for name in self._slices}


def _value(features, name: str) -> str:
    """The first value of a feature as a string; "" where there is none."""
    kind = features[name].WhichOneof("kind") if name in features else None
    values = getattr(features[name], kind).value if kind else []
    if not values:
        return ""
    return values[0].decode(errors="replace") if isinstance(values[0], bytes) else str(values[0])
