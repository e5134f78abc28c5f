"""The command line as a process of its own, and a copy of the embedded sample that a test may damage."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from components.privacy.entries import RESERVE, Entry
from components.privacy.ledger import Ledger

PROJECT = Path(__file__).parents[2]
SAMPLE = PROJECT / "data" / "fashion-mnist"
TINY_FILES = ("train/images-00000-*", "public/images-00000-*", "validation/images-00000-*", "holdout/images-0000[01]-*")


def command(*arguments: str, root: Path) -> list[str]:
    return [sys.executable, "-m", "pipeline.cli", *arguments, "--root", str(root)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PROJECT), "COLUMNS": "100"}


def lockgate(*arguments: str, root: Path) -> subprocess.CompletedProcess:
    """Runs `lockgate` to its end, from another folder than the project's."""
    return subprocess.run(
        command(*arguments, root=root), capture_output=True, text=True, timeout=500, env=environment(), cwd="/"
    )


def temporary(root: Path) -> Path:
    """Where the first run on `finished` put its temporary files."""
    return root.with_name(root.name + "-temporary")


def run_tiny(root: Path, *settings: str) -> tuple[int, dict]:
    """Runs the tiny preset with `--json`; gives the exit code and the object that was printed."""
    overrides = [part for setting in settings for part in ("--set", setting)]
    done = lockgate("run", "--config", "tiny", "--json", *overrides, root=root)
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """What a run that fails must leave as it was: the serving folder's files, and the ledger's entries."""

    serving: dict[str, bytes]
    entries: list[Entry]

    @property
    def charges(self) -> list[Entry]:
        """The reservations."""
        return [entry for entry in self.entries if entry.kind == RESERVE]


def kept(root: Path) -> Kept:
    serving = {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.glob("serving/**/*")) if p.is_file()}
    place = root / "ledger.sqlite"
    return Kept(serving=serving, entries=Ledger(place).export() if place.exists() else [])


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> tuple[Path, dict]:
    """A root on which the tiny preset has run once, and what the run printed."""
    root = tmp_path_factory.mktemp("finished")
    temporary(root).mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(temporary(root)))
        code, record = run_tiny(root)
    assert code == 0, record
    return root, record


@pytest.fixture
def sample(tmp_path) -> Path:
    """The files that the tiny preset reads, in a folder that the test may change."""
    folder = tmp_path / "images"
    for pattern in TINY_FILES:
        for file in SAMPLE.glob(f"span-1/{pattern}"):
            target = folder / file.relative_to(SAMPLE)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    return folder
