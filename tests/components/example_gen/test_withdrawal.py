"""Taking records out of files: only those, in one step, and nobody else can read what is left."""

import stat
from pathlib import Path

import pytest
import tensorflow as tf

from components.common.errors import DataError
from components.example_gen.withdrawal import Withdrawn, take_out


def write(file: Path, rows: list[tuple[str, str | None]]) -> Path:
    with tf.io.TFRecordWriter(str(file), "GZIP" if file.suffix == ".gz" else "") as writer:
        for id, person in rows:
            example = tf.train.Example()
            example.features.feature["id"].bytes_list.value.append(id.encode())
            if person:
                example.features.feature["person"].bytes_list.value.append(person.encode())
            writer.write(example.SerializeToString())
    return file


def ids(file: Path) -> list[str]:
    found = tf.data.TFRecordDataset(str(file), "GZIP" if file.suffix == ".gz" else "").as_numpy_iterator()
    return [tf.train.Example.FromString(r).features.feature["id"].bytes_list.value[0].decode() for r in found]


ROWS = [("a", "anna"), ("b", "bert"), ("c", "anna"), ("d", None)]


@pytest.mark.parametrize("name", ["x.tfrecord", "x.gz"])
@pytest.mark.parametrize(
    ("withdrawn", "left"),
    [
        (Withdrawn(ids=frozenset({"b"})), ["a", "c", "d"]),
        (Withdrawn(persons=frozenset({"anna"})), ["b", "d"]),
        (Withdrawn(ids=frozenset({"d"}), persons=frozenset({"bert"})), ["a", "c"]),
    ],
)
def test_only_what_is_named_goes(tmp_path, name, withdrawn, left):
    file = write(tmp_path / name, ROWS)
    assert take_out(file, withdrawn) == 4 - len(left)
    assert ids(file) == left and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_file_without_any_of_them_is_not_touched(tmp_path):
    file = write(tmp_path / "x.tfrecord", ROWS)
    before = file.stat().st_mtime_ns, file.read_bytes()
    assert take_out(file, Withdrawn(ids=frozenset({"anna"}), persons=frozenset({"a"}))) == 0
    assert (file.stat().st_mtime_ns, file.read_bytes()) == before


def test_a_file_that_is_left_empty_goes(tmp_path):
    file = write(tmp_path / "x.tfrecord", ROWS[:1])
    assert take_out(file, Withdrawn(ids=frozenset({"a"}))) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_stays_as_it_is(tmp_path):
    file = write(tmp_path / "x.tfrecord", ROWS)
    file.write_bytes(file.read_bytes()[:-5])
    before = file.read_bytes()
    with pytest.raises(DataError, match="must be a whole TFRecord file"):
        take_out(file, Withdrawn(ids=frozenset({"a"})))
    assert file.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
