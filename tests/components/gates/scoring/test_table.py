"""The table of answers: read back in an order of its own, each example once, and refused where it is not whole."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.common.errors import GateError
from components.gates.scoring.table import read_table, schema, variant_key

MODELS = ("parent", variant_key("int8"))


def write(folder, rows: list[tuple[str, str, int]], files: int = 1, name: str = "answers") -> str:
    """Rows of (digest, id, label), with scores that tell the digest."""
    folder.mkdir(exist_ok=True)
    for i in range(files):
        part = rows[i::files]
        columns = {"digest": [r[0] for r in part], "id": [r[1] for r in part], "label": [r[2] for r in part]}
        columns["slice:light"] = ["day" if r[2] else "night" for r in part]
        for m in MODELS:
            columns[f"class:{m}"] = [r[2] for r in part]
            columns[f"scores:{m}"] = [[float(ord(r[0][0])), float(r[2])] for r in part]
        table = pa.Table.from_pydict(columns, schema=schema(MODELS, ("light",), 2))
        pq.write_table(table, folder / f"{name}-{i}.parquet")
    return str(folder)


ROWS = [("c", "1", 0), ("a", "2", 1), ("b", "3", 0), ("a", "4", 1), ("d", "5", 1)]


def test_each_example_counts_once_in_an_order_of_its_own(tmp_path):
    table = read_table(write(tmp_path / "t", ROWS), MODELS, ("light",), 2)
    assert table.labels.tolist() == [1, 0, 0, 1] and table.duplicates == 1
    assert table.scores["parent"][:, 0].astype(int).tolist() == [ord(c) for c in "abcd"]
    assert table.slices["light"].tolist() == ["day", "night", "night", "day"]
    np.testing.assert_array_equal(table.predictions[MODELS[1]], table.labels)


def test_files_order_and_duplicates_do_not_change_the_fingerprint(tmp_path):
    found = [
        read_table(write(tmp_path / name, rows, files), MODELS, ("light",), 2).fingerprint
        for name, rows, files in (("a", ROWS, 1), ("b", ROWS[::-1], 3), ("c", ROWS + ROWS, 2), ("d", ROWS[:3], 1))
    ]
    assert len(set(found[:3])) == 1 and found[3] != found[0]


def test_a_table_without_rows_has_none(tmp_path):
    table = read_table(write(tmp_path / "t", []), MODELS, ("light",), 2)
    assert len(table.labels) == 0 and table.scores["parent"].shape == (0, 2) and table.duplicates == 0


@pytest.mark.parametrize(
    ("models", "slices", "classes"), [((*MODELS, "x"), (), 2), (MODELS, ("dark",), 2), (MODELS, (), 3)]
)
def test_what_is_missing_is_refused(tmp_path, models, slices, classes):
    with pytest.raises(GateError, match="must be whole|must hold 3 scores"):
        read_table(write(tmp_path / "t", ROWS), models, slices, classes)


def test_a_folder_that_is_not_there_or_holds_something_else_is_refused(tmp_path):
    with pytest.raises(GateError, match="^the table of answers on holdout must be whole"):
        read_table(str(tmp_path / "nowhere"), MODELS, (), 2)
    write(tmp_path / "t", ROWS)
    (tmp_path / "t/answers-0.parquet").write_bytes(b"PAR1 half")
    with pytest.raises(GateError, match="^the table of answers on holdout must be whole"):
        read_table(str(tmp_path / "t"), MODELS, (), 2)
