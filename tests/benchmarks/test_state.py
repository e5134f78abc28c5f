"""What a benchmark has finished: made once, and named by all that made it."""

import dataclasses

import pytest

from benchmarks.private_model import CLUSTER, LINE
from benchmarks.state import State, key_of


@pytest.fixture
def state(tmp_path):
    return State(tmp_path / "state", "validation")


def test_other_settings_are_other_files():
    other = dataclasses.replace(CLUSTER, clusters=3)
    assert len({key_of(LINE), key_of(LINE, CLUSTER), key_of(LINE, other), key_of("x", ["y"])}) == 4
    assert key_of(LINE, CLUSTER) == key_of(dataclasses.replace(LINE), dataclasses.replace(CLUSTER))


def test_a_file_is_made_once(state, tmp_path):
    made = []

    def make() -> bytes:
        made.append(1)
        return b"content"

    first = state.file("model/line.tflite", make)
    assert State(tmp_path / "state", "test").file("model/line.tflite", make) == first
    assert first[0] == b"content" and made == [1]


def test_files_that_differ_in_their_ending_are_two(state):
    assert [state.file(f"line.{ending}", ending.encode)[0] for ending in ("tflite", "lockgate")] == [
        b"tflite",
        b"lockgate",
    ]


def test_a_file_that_was_not_finished_is_made_again(state):
    def killed() -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        state.file("line.tflite", killed)
    assert state.file("line.tflite", lambda: b"whole")[0] == b"whole"


def test_a_note_is_read_as_it_was_written(state):
    state.note("line", {"layers": [1, None]})
    assert state.note("line") == {"layers": [1, None]}
