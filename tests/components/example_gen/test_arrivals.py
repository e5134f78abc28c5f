"""Spans as they arrive: ready, still to come, or damaged, each with a reason that names the file."""

import dataclasses
import os
import shutil
from pathlib import Path

import pytest
import tensorflow as tf

from components.common.errors import DataError
from components.example_gen import arrivals as module
from components.example_gen.arrivals import BAD, READY, WAITING, Arrival, arrivals, print_of, require_unchanged
from components.example_gen.config import ROLES, RolesConfig, SharesConfig
from components.example_gen.core import find_span
from tests.components.settings import DATA

DATED = "{YYYY}-{MM}-{DD}"


@pytest.fixture
def arrive(tmp_path, data, encode, public, example):
    """Writes a span: two records a role, in one file each; and its marker."""

    def write(name: str, marker: bool = True, roles: tuple[str, ...] = ROLES) -> Path:
        folder = tmp_path / "data" / name
        folder.mkdir()
        for role in roles:
            (folder / role).mkdir()
            with tf.io.TFRecordWriter(str(folder / role / "a.tfrecord")) as writer:
                for i in range(2):
                    writer.write(example(encode(public.images[i]), int(public.labels[i]), f"{name}-{role}-{i}"))
        if marker:
            (folder / "_SUCCESS").touch()
        return folder

    return write


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    roles = RolesConfig(**{role: f"{DATED}/{role}/*.tfrecord" for role in ROLES})
    return dataclasses.replace(DATA, root=str(tmp_path / "data"), roles=roles, marker="_SUCCESS")


@pytest.fixture
def numbered(data):
    """The same without dates and without a marker."""
    roles = RolesConfig(**{role: f"span-{{SPAN}}/{role}/*.tfrecord" for role in ROLES})
    return dataclasses.replace(data, roles=roles, marker="")


def only(data) -> Arrival:
    (found,) = arrivals(data)
    return found


def test_nothing_has_arrived(data):
    assert arrivals(data) == []
    with pytest.raises(DataError, match="`data.root` must be a folder"):
        arrivals(dataclasses.replace(data, root=data.root + "-x"))


def test_spans_come_in_order_each_with_its_state(data, arrive):
    names = ["2027-01-01", "2024-02-29", "2026-12-31", "2026-03-29", "2026-02-30", "2026-12-31.tmp"]
    folders = [arrive(name, marker=name != "2026-12-31") for name in names]
    found = arrivals(data)
    assert [(a.span, a.name, a.state) for a in found] == [
        (19782, "2024-02-29", READY),
        (20541, "2026-03-29", READY),
        (20818, "2026-12-31", WAITING),
        (20819, "2027-01-01", READY),
    ]
    assert [a.folder for a in found] == [folders[1], folders[3], folders[2], folders[0]]
    assert found[2].reason == f"{folders[2]}/_SUCCESS is not there yet" and found[0].reason == ""
    assert find_span(data)[0] == 20819


def test_the_newest_span_is_the_newest_complete_one_and_another_is_refused(data, arrive):
    arrive("2026-11-26")
    later = arrive("2026-11-27", marker=False)
    assert find_span(data)[0] == 20783
    with pytest.raises(DataError, match=r"^span 2026-11-27 must have its marker .* Missing: .*11-27/_SUCCESS$"):
        find_span(dataclasses.replace(data, span=20784))
    with pytest.raises(DataError, match=r"must hold span 2026-11-28 .* Found: \[2026-11-26, 2026-11-27\]$"):
        find_span(dataclasses.replace(data, span=20785))
    (later / "_SUCCESS").touch()
    assert find_span(data)[0] == 20784
    for folder in later.parent.iterdir():
        (folder / "_SUCCESS").unlink()
    with pytest.raises(DataError, match=r"must hold a span with its marker `_SUCCESS`. Missing: .*11-27/_SUCCESS$"):
        find_span(data)


def test_a_marker_is_a_file_and_lies_in_the_folder_of_every_role(data, arrive):
    folder = arrive("2026-11-27", marker=False)
    (folder / "_SUCCESS").mkdir()
    assert only(data).state == WAITING
    patterns = {role: f"{role}/{DATED}/*.tfrecord" for role in ROLES}
    apart = dataclasses.replace(data, roles=RolesConfig(**patterns))
    for role in ROLES:
        target = Path(data.root, role, "2026-11-27")
        target.parent.mkdir()
        shutil.move(folder / role, target)
        (target / "_SUCCESS").touch()
    assert only(apart).state == READY and only(apart).folder == Path(data.root, "train", "2026-11-27")
    (Path(data.root, "public", "2026-11-27") / "_SUCCESS").unlink()
    assert (only(apart).state, only(apart).reason) == (
        WAITING,
        f"{data.root}/public/2026-11-27/_SUCCESS is not there yet",
    )


def test_a_marker_that_plays_a_role_is_refused(data, arrive):
    arrive("2026-11-27")
    roles = dataclasses.replace(data.roles, public=f"{DATED}/*")
    wrong = dataclasses.replace(data, roles=roles)
    assert only(wrong).state == BAD and only(wrong).reason.endswith("/_SUCCESS, the marker")
    with pytest.raises(DataError, match="role `public` must have files of examples"):
        find_span(wrong)


@pytest.mark.parametrize("made", [(), ("train",), ("train", "public", "holdout")])
def test_a_role_without_files_is_waited_for_even_in_an_empty_folder(numbered, arrive, made):
    folder = arrive("span-7", roles=made)
    missing = next(role for role in ROLES if role not in made)
    found = only(numbered)
    assert (found.span, found.name, found.state, found.folder) == (7, "span-7", WAITING, folder)
    assert found.reason == f"role `{missing}` has no files yet: nothing matches {folder}/{missing}/*.tfrecord"


def test_roles_with_a_share_need_no_files(numbered, arrive):
    arrive("span-7", roles=("train", "public"))
    roles = dataclasses.replace(numbered.roles, validation="", holdout="")
    shared = dataclasses.replace(numbered, roles=roles, shares=SharesConfig(holdout=0.2, validation=0.1))
    assert only(shared).state == READY
    assert list(find_span(shared)[1]) == ["train", "public"]


def _cut(file: Path):
    file.write_bytes(file.read_bytes()[:-1])


def _other(payload: bytes):
    def write(file: Path):
        with tf.io.TFRecordWriter(str(file)) as writer:
            writer.write(payload)

    return write


DAMAGE = {
    "cut": (_cut, "is cut off or damaged after record 1"),
    "empty": (lambda file: file.write_bytes(b""), "is empty"),
    "never written": (lambda file: file.write_bytes(bytes(4096)), "is cut off or damaged after record 0"),
    "text": (lambda file: file.write_text("label,image\n" * 9), "is cut off or damaged after record 0"),
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_bad_and_named_and_good_once_it_is_replaced(data, arrive, role, damage):
    file = arrive("2026-11-27") / role / "a.tfrecord"
    arrive("2026-11-28")
    content, (spoil, says) = file.read_bytes(), DAMAGE[damage]
    spoil(file)
    bad, after = arrivals(data)
    assert (bad.state, after.state) == (BAD, READY)
    assert bad.reason.startswith(f"{file} must ") and says in bad.reason and "\n" not in bad.reason
    file.write_bytes(content)
    assert arrivals(data)[0].state == READY
    assert arrivals(data)[0].fingerprint != bad.fingerprint


def test_without_its_marker_a_damaged_span_still_waits(data, arrive):
    folder = arrive("2026-11-27", marker=False)
    _cut(folder / "train" / "a.tfrecord")
    assert only(data).state == WAITING
    assert only(dataclasses.replace(data, marker="")).state == BAD


@pytest.mark.parametrize("gone", ["file", "span"])
def test_what_vanishes_while_it_is_looked_at_is_waited_for(data, arrive, monkeypatch, gone):
    folder, after = arrive("2026-11-27"), arrive("2026-11-28")
    look, file = module.check_framing, folder / "holdout" / "a.tfrecord"

    def deleting(path: Path):
        if path == file:
            file.unlink() if gone == "file" else shutil.rmtree(folder)
        return look(path)

    monkeypatch.setattr(module, "check_framing", deleting)
    found = arrivals(data)
    assert [(a.name, a.state) for a in found] == [("2026-11-27", WAITING), ("2026-11-28", READY)]
    assert found[0].reason == f"{file} vanished while it was looked at"
    assert find_span(data)[0] == 20785 and after.exists()


def test_a_span_that_vanishes_after_it_was_listed_is_waited_for(data, arrive, monkeypatch):
    folder, listed = arrive("2026-11-27"), module.role_files

    def deleting(*given):
        found = listed(*given)
        shutil.rmtree(folder, ignore_errors=True)
        return found

    monkeypatch.setattr(module, "role_files", deleting)
    found = only(data)
    assert (found.state, found.reason) == (WAITING, f"{folder}/_SUCCESS is not there yet")
    assert arrivals(data) == []


def test_a_fingerprint_tells_another_file_size_or_time_and_nothing_else(data, arrive):
    folder = arrive("2026-11-27")
    file = folder / "train" / "a.tfrecord"
    seen = [only(data).fingerprint]
    assert only(data).fingerprint == seen[0]
    (folder / "notes.txt").write_text("of no role")
    assert only(data).fingerprint == seen[0]
    stat = file.stat()
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    seen.append(only(data).fingerprint)
    file.write_bytes(file.read_bytes() * 2)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    seen.append(only(data).fingerprint)
    shutil.copy2(file, file.with_name("b.tfrecord"))
    seen.append(only(data).fingerprint)
    file.with_name("b.tfrecord").rename(file.with_name("c.tfrecord"))
    seen.append(only(data).fingerprint)
    assert len(set(seen)) == len(seen)


def test_a_span_that_changes_while_it_is_read_is_refused(data, arrive):
    folder = arrive("2026-11-27")
    (arrival,) = arrivals(data)
    before = print_of(data, arrival.span)
    assert before == arrival.fingerprint
    arrive("2026-11-28")
    (folder / "_SUCCESS").unlink()
    require_unchanged(data, arrival.span, before)
    shutil.copy(folder / "train" / "a.tfrecord", folder / "train" / "b.tfrecord")
    with pytest.raises(DataError, match="^2026-11-27 must stay as it is while it is read. Its files under .*/data cha"):
        require_unchanged(data, arrival.span, before)
    shutil.rmtree(folder)
    with pytest.raises(DataError):
        require_unchanged(data, arrival.span, before)
