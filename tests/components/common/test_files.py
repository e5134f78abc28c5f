"""Files that are there whole or not at all."""

import pytest

from components.common.files import write_durably


def test_it_is_there_whole_for_its_owner_alone_and_nothing_beside_it(tmp_path):
    for content in (b"first, longer", b"second"):
        write_durably(tmp_path / "a.json", content)
        assert (tmp_path / "a.json").read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o600


def test_what_stood_there_stays_where_it_cannot_be_written(tmp_path):
    write_durably(tmp_path / "a", b"before")
    (tmp_path / ".a.writing").mkdir()
    with pytest.raises(OSError):
        write_durably(tmp_path / "a", b"after")
    assert (tmp_path / "a").read_bytes() == b"before"
