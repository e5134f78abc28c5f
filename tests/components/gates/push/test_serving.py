"""The serving folder: a reader sees a whole version, whatever happens to the writer."""

import hashlib
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.common.errors import GateError
from components.gates.push.serving import push, roll_back, served, superseded, withdrawn


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


def test_a_rollback_serves_the_version_before_and_keeps_what_it_withdrew(tmp_path):
    for number in (1, 2, 3):
        push(tmp_path, files(number))
    assert roll_back(tmp_path) == (2, 3) and served(tmp_path)[0] == 2
    assert withdrawn(tmp_path) == {3: files(3)["model.tflite"]}
    assert roll_back(tmp_path) == (1, 2) and served(tmp_path)[0] == 1
    with pytest.raises(GateError, match="^a rollback must have an earlier version"):
        roll_back(tmp_path)
    assert served(tmp_path)[0] == 1
    assert push(tmp_path, files(4))[0] == 4 and roll_back(tmp_path) == (1, 4)


def test_a_rollback_goes_past_versions_of_the_same_model_and_of_withdrawn_ones(tmp_path):
    push(tmp_path, files(1))
    push(tmp_path, files(2))
    push(tmp_path, {**files(2), "statement.txt": b"more was spent"})
    assert roll_back(tmp_path) == (1, 3)


def test_before_the_first_push_there_is_nothing_to_go_back_to(tmp_path):
    with pytest.raises(GateError, match="^a rollback must have an earlier version"):
        roll_back(tmp_path)
    assert list(tmp_path.iterdir()) == []


CRASHER = """
import os, sys
from collections.abc import Iterator
from pathlib import Path
from tests_files import files
from components.gates.push.serving import push, roll_back
content, left = files(2), int(sys.argv[2])
def die_when_due(event, arguments):
    global left
    if event == "open" or event.startswith(("os.", "shutil.")) and event != "os.kill":
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)
sys.addaudithook(die_when_due)
push(Path(sys.argv[1]), content) if sys.argv[3] == "push" else roll_back(Path(sys.argv[1]))
"""


def child(program: str, tmp_path: Path, *arguments: str) -> subprocess.Popen:
    """Starts a child, without TensorFlow, that can import `files` from here."""
    source = Path(__file__).read_text()
    helper = "import hashlib, json\n" + source[source.index("def files") : source.index("def test_versions")]
    (tmp_path / "tests_files.py").write_text(helper)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[4])])}
    command = [sys.executable, "-S", "-c", program, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)


def deaths(tmp_path: Path, numbers: tuple[int, ...], what: str) -> Iterator[tuple[Path, int]]:
    """Serving folders with some versions, in which a writer died by SIGKILL before its first file operation, before its
    second, and so on until one got through; and how each ended."""
    for operations in range(200):
        folder = tmp_path / str(operations)
        for number in numbers:
            push(folder, files(number))
        with child(CRASHER, tmp_path, str(folder), str(operations), what) as writer:
            pass
        yield folder, writer.returncode
        if writer.returncode == 0:
            break
    assert operations >= 10


def test_a_writer_that_dies_before_any_one_of_its_file_operations_leaves_a_whole_version(tmp_path):
    seen = set()
    for folder, ended in deaths(tmp_path, (1,), "push"):
        assert _read_whole(folder, 1)
        seen.add((ended, served(folder)[0]))
        if ended:
            assert push(folder, files(3))[1].read_bytes() == files(3)["model.tflite"]
            assert sorted(p.name for p in folder.iterdir()) == ["current", "versions"]
    assert seen == {(-9, 1), (-9, 2), (0, 2)}  # the last flush comes after the new version is served


def test_a_rollback_that_dies_before_any_one_of_its_file_operations_leaves_a_whole_version(tmp_path):
    seen = set()
    for folder, ended in deaths(tmp_path, (1, 2, 3), "roll back"):
        assert _read_whole(folder, 1)
        seen.add((ended, served(folder)[0]))
        if ended:
            assert push(folder, files(4))[1].read_bytes() == files(4)["model.tflite"]
    assert seen == {(-9, 3), (-9, 2), (0, 2)}


READER = """
import hashlib, json, os, sys
from collections.abc import Iterator
from pathlib import Path
folder, reads = Path(sys.argv[1]), 0
print("ready", flush=True)
while not (folder / "stop").exists():
    version = folder / os.readlink(folder / "current")
    content = (version / "model.tflite").read_bytes()
    assert json.loads((version / "manifest.json").read_bytes())["sha256"] == hashlib.sha256(content).hexdigest()
    assert content[:4] in (bytes([0, 0, 0, 1]), bytes([0, 0, 0, 2]))
    reads += 1
print(reads)
"""


def test_another_process_reads_on_while_pushes_die_at_every_step(tmp_path):
    """One reader in a loop, over all of it; the writer dies before its first operation, its second, and so on."""
    folder = tmp_path / "serving"
    push(folder, files(1))
    with child(READER, tmp_path, str(folder)) as reader:
        assert reader.stdout.readline() == b"ready\n"
        for operations in range(200):
            with child(CRASHER, tmp_path, str(folder), str(operations), "push") as writer:
                pass
            if writer.returncode == 0:
                break
            push(folder, files(1))
        (folder / "stop").touch()
        assert int(reader.stdout.read()) > 50
    assert reader.returncode == 0 and operations >= 10
    assert served(folder)[1].read_bytes() == files(2)["model.tflite"]


WRITER = """
import sys, itertools
from collections.abc import Iterator
from pathlib import Path
from tests_files import files
from components.gates.push.serving import push
start = int(sys.argv[2])
print("ready", flush=True)
for number in itertools.count(start):
    push(Path(sys.argv[1]), files(number, 50_000))
"""


def test_a_reader_never_sees_a_half_model_while_writers_are_killed(tmp_path):
    """40 writers that push 200 kB models without pause, each killed with SIGKILL at a random moment
    after its first."""
    folder, chance, reads, last = tmp_path / "serving", random.Random(1), 0, 0
    for round in range(40):
        writer = child(WRITER, tmp_path, str(folder), str(1 + round * 1_000_000))
        try:
            assert writer.stdout.readline() == b"ready\n"
            pause, until = chance.uniform(0, 0.04), math.inf
            while time.monotonic() < until:
                reads += _read_whole(folder, last)
                version = (served(folder) or (last,))[0]
                if version > last:
                    last, until = version, min(until, time.monotonic() + pause)
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            writer.stdout.close()
        _read_whole(folder, last)
    assert reads >= 40 and last >= 40
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


def test_superseded_are_versions_before_the_newest_models_but_none_that_was_rolled_back(tmp_path):
    def named(versions: int) -> list[str]:
        return [path.name for path in superseded(tmp_path, versions)]

    assert named(1) == []
    for content in (b"a", b"b", b"c", b"d", b"d"):
        push(tmp_path, {"model.tflite": content, "statement.txt": str(content).encode()})
    push(tmp_path, {"model.tflite": b"d", "statement.txt": b"another"})
    assert (named(1), named(2), named(9)) == (["1", "2", "3"], ["1", "2"], [])
    roll_back(tmp_path)
    assert served(tmp_path)[0] == 3 and named(1) == ["1", "2"]
    push(tmp_path, {"model.tflite": b"e"})
    assert (named(1), named(3)) == (["1", "2", "3", "4"], ["1", "4"])  # d was rolled back as version 5
