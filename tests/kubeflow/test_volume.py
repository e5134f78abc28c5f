"""base/give.sh and check.sh, run on folders: the volume becomes the steps' own, once, or a line says what to do."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import skip_without
from tests.kubeflow.conftest import MANIFESTS

USER, NOBODY = 10001, 65534
SHELLS = [["sh"], ["busybox", "sh"]]  # of this machine, and of the image

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")


@pytest.fixture(params=SHELLS, ids=["sh", "busybox"])
def shell(request) -> list[str]:
    if not shutil.which(request.param[0]):
        skip_without(request.param[0])
    return request.param


@pytest.fixture
def volume() -> Iterator[Path]:
    """A folder of root's, as a new volume is, which other users can see."""
    with tempfile.TemporaryDirectory(prefix="lockgate-volume-") as folder:
        os.chmod(folder, 0o755)
        volume = Path(folder) / "volume"
        (volume / "runs" / "a b").mkdir(parents=True)
        (volume / "runs" / "a b" / "run.json").write_text("{}")
        (volume / "link").symlink_to("/etc/passwd")
        yield volume


def give(shell: list[str], volume: Path, user: int = 0) -> subprocess.CompletedProcess:
    return _run(shell, user, "give.sh", volume, USER)


def check(shell: list[str], volume: Path) -> subprocess.CompletedProcess:
    return _run(shell, USER, "check.sh", volume)


def _run(shell: list[str], user: int, script: str, *arguments: object) -> subprocess.CompletedProcess:
    read = [*shell, "-s", "--", *map(str, arguments)]  # another user may not look into this checkout
    text = (MANIFESTS / "base" / script).read_text()
    return subprocess.run(read, input=text, user=user, group=user, capture_output=True, text=True, timeout=60, cwd="/")


def owners(volume: Path) -> dict[str, int]:
    return {str(p.relative_to(volume)): p.lstat().st_uid for p in [volume, *volume.rglob("*")]}


def test_all_becomes_the_steps_own_and_nobody_elses(shell, volume):
    passwords = os.stat("/etc/passwd").st_uid
    assert check(shell, volume).returncode == 2, "a new volume is root's"
    done = give(shell, volume)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(owners(volume).values()) == {USER} and len(owners(volume)) == 5
    assert os.stat("/etc/passwd").st_uid == passwords, "a link is not followed"
    assert volume.stat().st_mode & 0o777 == 0o700
    done = check(shell, volume)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(p.name for p in volume.iterdir()) == ["link", "runs"], "nothing is left"


def test_a_second_run_looks_at_the_folder_alone(shell, volume):
    assert give(shell, volume).returncode == 0
    (volume / "runs" / "later").touch()  # root's; a walk would give it away
    done = give(shell, volume)
    assert done.stdout == f"{volume} is user {USER}'s already.\n"
    assert owners(volume)["runs/later"] == 0


def test_a_try_that_was_cut_short_is_taken_up(shell, volume):
    os.lchown(volume / "runs", USER, USER)
    assert give(shell, volume).returncode == 0
    assert set(owners(volume).values()) == {USER}


def test_where_root_is_squashed_one_line_says_what_to_do(shell, volume):
    """A server with root_squash takes root for nobody, who may not change owners (exports(5))."""
    before = owners(volume)
    done = give(shell, volume, user=NOBODY)
    assert done.returncode == 0 and "(root_squash)" in done.stdout
    assert owners(volume) == before
    done = check(shell, volume)
    assert done.returncode == 2
    assert done.stderr == (
        "the volume must be writable for user 10001: on its server, chown 10001:10001 what is exported, or set that as "
        "the owner in the storage class. Received: owner 0:0, mode 755, and this is user 10001\n"
    )


def test_where_root_is_squashed_and_everybody_may_write_all_is_well(shell, volume):
    volume.chmod(0o777)
    assert give(shell, volume, user=NOBODY).returncode == 0
    assert check(shell, volume).returncode == 0


def test_a_file_system_without_locks_is_refused(volume):
    """flock(2) fails with ENOLCK or ENOSYS there; here, the command that the image has for it does."""
    assert give(["sh"], volume).returncode == 0
    with tempfile.TemporaryDirectory(prefix="lockgate-bin-") as folder:
        os.chmod(folder, 0o755)
        fails = Path(folder) / "flock"
        fails.write_text("#!/bin/sh\necho 'flock: No locks available' >&2\nexit 71\n")
        fails.chmod(0o755)
        done = check(["env", f"PATH={folder}:{os.environ['PATH']}", "sh"], volume)
    assert done.returncode == 2
    assert done.stderr.startswith(
        "the volume must honour flock: use NFS 4 with locks, or CephFS. Received: owner 10001:"
    )
    assert sorted(p.name for p in volume.iterdir()) == ["link", "runs"]
