"""A private record is in one span, once, and of a person who has no more than was declared."""

import dataclasses
from pathlib import Path

import pytest
import tensorflow as tf

from components.common.errors import DataError
from components.example_gen.config import ROLES, RolesConfig
from components.example_gen.spans import check_owners
from tests.components.settings import DATA


@pytest.fixture
def data(tmp_path):
    roles = RolesConfig(**{role: f"span-{{SPAN}}/{role}/*.tfrecord" for role in ROLES})
    return dataclasses.replace(DATA, root=str(tmp_path / "data"), roles=roles)


def write(file: Path, rows: list[tuple[str, str]], compression: str = "") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(file), compression) as writer:
        for id, person in rows:
            example = tf.train.Example()
            for key, value in (("id", id), ("person", person)):
                if value:
                    example.features.feature[key].bytes_list.value.append(value.encode())
            writer.write(example.SerializeToString())


@pytest.fixture
def check(tmp_path, data):
    """Checks span 2, which holds `own`, beside span 1, which holds `other`, and files of other roles; it is trained on
    together with what `windows` hold."""

    def run(own: list[tuple[str, str]], other: list[tuple[str, str]] = (), most: int = 1, windows=()) -> None:
        root = Path(data.root)
        write(tmp_path / "examples" / "Split-train" / "data.gz", own, "GZIP")
        write(root / "span-2/train/x.tfrecord", own)
        write(root / "span-1/train/x.tfrecord", list(other))
        write(root / "span-1/public/x.tfrecord", own)
        earlier = [tmp_path / f"earlier-{i}" for i in range(len(windows))]
        for folder, rows in zip(earlier, windows, strict=True):
            write(folder / "Split-train" / "data.gz", rows, "GZIP")
        check_owners(str(tmp_path / "examples"), data, 2, most, [str(folder) for folder in earlier])

    return run


def test_records_of_their_own_pass_and_so_do_those_without_an_id(check):
    check([("a", ""), ("b", ""), ("", ""), ("", "")], [("c", ""), ("", "")])


def test_a_record_in_two_spans_is_named(check):
    with pytest.raises(DataError, match="must be in one span, .* Received: b, c$"):
        check([("a", ""), ("b", ""), ("c", "")], [("c", ""), ("b", ""), ("d", "")])


def test_a_record_twice_in_a_span_is_named(check):
    with pytest.raises(DataError, match="must be in a span once, .* Received: a$"):
        check([("a", ""), ("b", ""), ("a", "")])


def test_a_person_with_more_records_than_declared_is_refused_and_not_named(check):
    rows = [("a", "anna"), ("b", "anna"), ("c", "bert"), ("d", "")]
    check(rows, most=2)
    with pytest.raises(DataError, match="records_per_person = 1 records.* Received: 2 of one person") as caught:
        check(rows)
    assert "anna" not in str(caught.value)


@pytest.mark.parametrize("damage", ["cut", "empty", "no example", "never written"])
def test_a_neighbour_that_is_half_written_stops_nobody_and_what_it_holds_is_still_compared(check, data, damage):
    """Span 3 is damaged; its own check, before anything trains on it, compares the rest."""
    root = Path(data.root)
    write(root / "span-3/train/a.tfrecord", [("x", ""), ("y", "")])
    content = (root / "span-3/train/a.tfrecord").read_bytes()
    spoiled = {"cut": content[:-3], "empty": b"", "never written": bytes(64), "no example": None}[damage]
    if spoiled is None:
        with tf.io.TFRecordWriter(str(root / "span-3/train/a.tfrecord")) as writer:
            made = tf.train.Example()
            made.features.feature["id"].int64_list.value.append(7)
            writer.write(made.SerializeToString())
    else:
        (root / "span-3/train/a.tfrecord").write_bytes(spoiled)
    check([("a", ""), ("b", "")], [("c", "")])
    write(root / "span-3/train/b.tfrecord", [("b", "")])  # comes after the damaged file
    with pytest.raises(DataError, match="must be in one span, .* Received: b$"):
        check([("a", ""), ("b", "")], [("c", "")])
    if damage == "cut":
        with pytest.raises(DataError, match="Received: x$"):
            (root / "span-3/train/b.tfrecord").unlink()
            check([("a", ""), ("x", "")], [("c", "")])


def test_dated_spans_are_compared_and_what_only_resembles_one_is_not(tmp_path, data):
    root = Path(data.root)
    roles = RolesConfig(**{role: f"{{YYYY}}-{{MM}}-{{DD}}/{role}/*" for role in ROLES})
    dated = dataclasses.replace(data, roles=roles)
    write(tmp_path / "examples" / "Split-train" / "data.gz", [("a", ""), ("b", "")], "GZIP")
    write(root / "2026-11-27/train/x", [("a", ""), ("b", "")])
    write(root / "2026-11-26/train/x", [("c", "")])
    write(root / "2026-02-30/train/x", [("a", "")])
    check_owners(str(tmp_path / "examples"), dated, 20784, 1)
    write(root / "2026-11-26/train/y", [("b", "")])
    with pytest.raises(DataError, match="must be in one span, .* Received: b$"):
        check_owners(str(tmp_path / "examples"), dated, 20784, 1)


def test_a_span_alone_has_nothing_to_be_compared_with(tmp_path, data):
    write(tmp_path / "examples" / "Split-train" / "data.gz", [("a", "")], "GZIP")
    check_owners(str(tmp_path / "examples"), data, 2, 1)
    check_owners(str(tmp_path / "examples"), dataclasses.replace(data, roles=DATA.roles), 0, 1)


def test_a_person_must_not_have_more_over_all_spans_that_are_trained_on_together(check):
    rows, windows = [("a", "anna"), ("b", "bert")], [[("c", "anna")], [("d", "anna"), ("e", "carl"), ("f", "")]]
    check(rows, most=3, windows=windows)
    check(rows, most=2, windows=windows[:1])
    with pytest.raises(DataError, match="records_per_person = 2 records.* Received: 3 of one person") as caught:
        check(rows, most=2, windows=windows)
    assert "anna" not in str(caught.value)


@pytest.mark.parametrize("windows", [[[("b", "")]], [[("x", "")], [("b", "")]], [[("y", ""), ("x", "")], [("x", "")]]])
def test_a_record_in_two_spans_that_are_trained_on_together_is_refused_where_the_files_are_gone(check, windows):
    with pytest.raises(DataError, match="must be in one span, .* Received: [bx]$"):
        check([("a", ""), ("b", "")], windows=windows)
