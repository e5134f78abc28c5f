"""The serving folder: a reader sees a whole version, whatever happens to the writer."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.gates.serving import push, served


def files(number: int, size: int = 100) -> dict[str, bytes]:
    content = number.to_bytes(4, "big") * size
    manifest = json.dumps({"sha256": hashlib.sha256(content).hexdigest()}).encode()
    return {"model.tflite": content, "manifest.json": manifest, "statement.txt": b"ok"}


def test_versions_count_up_and_the_newest_is_served(tmp_path):
    assert served(tmp_path / "serving") is None
    for number in (1, 2, 3):
        assert push(tmp_path / "serving", files(number)) == served(tmp_path / "serving")
    version, path = served(tmp_path / "serving")
    assert (version, path) == (3, tmp_path / "serving/versions/3/model.tflite")
    assert path.read_bytes() == (tmp_path / "serving/current/model.tflite").read_bytes() == files(3)["model.tflite"]
    assert (tmp_path / "serving/versions/1/model.tflite").read_bytes() == files(1)["model.tflite"]


def test_the_folder_may_be_moved_with_its_link(tmp_path):
    push(tmp_path / "a", files(1))
    (tmp_path / "a").rename(tmp_path / "b")
    assert served(tmp_path / "b")[1].read_bytes() == files(1)["model.tflite"]
    assert (tmp_path / "b/current/model.tflite").exists()


def snapshot(folder: Path) -> dict[str, tuple]:
    return {str(p.relative_to(folder)): (p.lstat().st_ino, p.lstat().st_mtime_ns) for p in sorted(folder.rglob("*"))}


def test_the_same_content_twice_changes_nothing(tmp_path):
    first = push(tmp_path, files(1))
    before = snapshot(tmp_path)
    assert push(tmp_path, files(1)) == first
    assert snapshot(tmp_path) == before


def test_the_same_model_with_another_statement_is_a_new_version(tmp_path):
    push(tmp_path, files(1))
    version, path = push(tmp_path, {**files(1), "statement.txt": b"more was spent"})
    assert version == 2 and path.with_name("statement.txt").read_bytes() == b"more was spent"


def test_content_of_an_older_version_is_a_new_version(tmp_path):
    for number in (1, 2, 1):
        version, path = push(tmp_path, files(number))
    assert version == 3 and path.read_bytes() == files(1)["model.tflite"]


def test_leftovers_of_a_killed_push_are_removed_and_never_served(tmp_path):
    push(tmp_path, files(1))
    leftover = tmp_path / "versions/.writing-2"
    leftover.mkdir()
    (leftover / "model.tflite").write_bytes(b"half")
    (tmp_path / "versions/7").mkdir()  # renamed, and killed before the link moved
    (tmp_path / ".current").symlink_to("versions/7")
    assert served(tmp_path)[0] == 1
    assert push(tmp_path, files(2))[0] == 8
    assert sorted(p.name for p in tmp_path.iterdir()) == ["current", "versions"]
    assert sorted(p.name for p in (tmp_path / "versions").iterdir()) == ["1", "7", "8"]


def test_a_version_that_was_lost_is_pushed_again(tmp_path):
    _, path = push(tmp_path, files(1))
    path.unlink()
    assert served(tmp_path) is None
    version, path = push(tmp_path, files(1))
    assert version == 2 and served(tmp_path) == (2, path) and path.read_bytes() == files(1)["model.tflite"]


def test_a_push_that_fails_leaves_the_old_version_served(tmp_path):
    push(tmp_path, files(1))
    before = served(tmp_path)
    with pytest.raises(OSError):
        push(tmp_path, {**files(2), "no/such/folder.txt": b""})
    assert served(tmp_path) == before
    assert push(tmp_path, files(3))[1].read_bytes() == files(3)["model.tflite"]


CRASHER = """
import os, sys
from pathlib import Path
from tests_files import files
from components.gates.serving import push
content, left = files(2), int(sys.argv[2])
def die_when_due(event, arguments):
    global left
    if event == "open" or event.startswith(("os.", "shutil.")) and event != "os.kill":
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)
sys.addaudithook(die_when_due)
push(Path(sys.argv[1]), content)
"""


def child(program: str, tmp_path: Path, *arguments: str) -> subprocess.Popen:
    """Starts a child, without TensorFlow, that can import `files` from here."""
    source = Path(__file__).read_text()
    helper = "import hashlib, json\n" + source[source.index("def files") : source.index("def test_versions")]
    (tmp_path / "tests_files.py").write_text(helper)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])])}
    command = [sys.executable, "-S", "-c", program, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)


def test_a_writer_that_dies_before_any_one_of_its_file_operations_leaves_a_whole_version(tmp_path):
    """SIGKILL before the first operation, before the second, and so on until a push gets through."""
    seen = set()
    for operations in range(200):
        folder = tmp_path / str(operations)
        push(folder, files(1))
        with child(CRASHER, tmp_path, str(folder), str(operations)) as writer:
            pass
        assert _read_whole(folder, 1)
        seen.add((writer.returncode, served(folder)[0]))
        if writer.returncode == 0:
            break
        assert push(folder, files(3))[1].read_bytes() == files(3)["model.tflite"]
        assert sorted(p.name for p in folder.iterdir()) == ["current", "versions"]
    assert operations >= 10
    assert seen == {(-9, 1), (-9, 2), (0, 2)}  # the last flush comes after the new version is served


WRITER = """
import sys, itertools
from pathlib import Path
from tests_files import files
from components.gates.serving import push
start = int(sys.argv[2])
print("ready", flush=True)
for number in itertools.count(start):
    push(Path(sys.argv[1]), files(number, 50_000))
"""


def test_a_reader_never_sees_a_half_model_while_writers_are_killed(tmp_path):
    """40 writers that push 200 kB models without pause, each killed with SIGKILL at a random moment."""
    folder, chance, reads, last = tmp_path / "serving", random.Random(1), 0, 0
    for round in range(40):
        writer = child(WRITER, tmp_path, str(folder), str(1 + round * 1_000_000))
        try:
            assert writer.stdout.readline() == b"ready\n"
            until = time.monotonic() + chance.uniform(0, 0.04)
            while time.monotonic() < until:
                reads += _read_whole(folder, last)
                last = (served(folder) or (last,))[0]
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            writer.stdout.close()
        _read_whole(folder, last)
    assert reads > 50 and last > 5
    version, _ = push(folder, files(5))
    assert version > last and _read_whole(folder, version)
    assert not list((folder / "versions").glob(".writing-*"))


def _read_whole(folder: Path, at_least: int) -> bool:
    """Reads what is served; fails if any file of it is missing, cut or of another version, or if the version fell."""
    current = folder / "current"
    if not current.is_symlink():
        assert at_least == 0
        return False
    version = folder / os.readlink(current)
    content = (version / "model.tflite").read_bytes()
    assert json.loads((version / "manifest.json").read_bytes())["sha256"] == hashlib.sha256(content).hexdigest()
    assert (version / "statement.txt").read_bytes() == b"ok"
    assert int(version.name) >= at_least
    return True
