"""What a killed search leaves behind."""

from components.search.kept import Kept


def test_what_was_written_is_read_by_the_next_process(tmp_path):
    Kept(tmp_path / "s").write("a.json", {"x": [1, 0.1]})
    Kept(tmp_path / "s").write("a.tflite", b"\x00\x01")
    later = Kept(tmp_path / "s")
    assert (later.read("a.json"), later.read("a.tflite"), later.read("b.json")) == ({"x": [1, 0.1]}, b"\x00\x01", None)


def test_a_write_that_was_cut_off_is_not_there_and_can_be_done_again(tmp_path):
    (tmp_path / ".a.json.writing").write_text('{"x": ')
    kept = Kept(tmp_path)
    assert kept.read("a.json") is None
    kept.write("a.json", 5)
    assert kept.read("a.json") == 5 and [path.name for path in tmp_path.iterdir()] == ["a.json"]
