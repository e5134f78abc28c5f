"""The image's Dockerfile, replayed without containers: its COPY and RUN lines in a folder, then a step as its user."""

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.runners.kubeflow.slices import code_fingerprint
from tests.e2e.conftest import PROJECT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
USER = 10001


def sent() -> set[str]:
    """The top level of what reaches the builder, by .dockerignore."""
    rules = [line for line in (PROJECT / ".dockerignore").read_text().split() if line]
    assert rules[0] == "*"
    return {rule[1:] for rule in rules if rule.startswith("!")}


def replayed(folder: Path, python: str) -> dict[str, str]:
    """Runs the lines of the Dockerfile's first stage in a folder; gives what the second one sets."""
    text = (PROJECT / "kubeflow" / "Dockerfile").read_text()
    build, final = re.split(r"^FROM .*$", text, flags=re.M)[1:]
    own = ("PYTHONPATH", "VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT")
    environment = {key: value for key, value in os.environ.items() if key not in own}  # where uv finds packages
    environment |= {"UV_PYTHON": python, "UV_LINK_MODE": "copy"}
    for line in build.splitlines():
        verb, _, rest = line.partition(" ")
        if verb == "COPY":
            *sources, target = shlex.split(rest)
            for source in sources:
                assert source in sent(), f".dockerignore keeps {source} out"
                place = folder / (source if target == "./" else target)
                copy = shutil.copytree if (PROJECT / source).is_dir() else shutil.copy
                copy(PROJECT / source, place)
        elif verb == "RUN" and not rest.startswith("pip "):
            done = subprocess.run(shlex.split(rest), cwd=folder, env=environment, capture_output=True, timeout=900)
            assert done.returncode == 0, done.stderr.decode()
    assert f"useradd --uid {USER}" in final and f"USER {USER}" in final
    (line,) = [line for line in final.splitlines() if line.startswith("ENV ")]
    return dict(pair.split("=", 1) for pair in shlex.split(line.removeprefix("ENV ")))


def interpreter(folder: Path) -> str:
    """A copy of this Python without its packages, where any user can run it."""
    left_out = shutil.ignore_patterns("site-packages", "test", "*.a")
    shutil.copytree(sys.base_prefix, folder, symlinks=True, ignore=left_out)
    return str(folder / "bin" / f"python3.{sys.version_info.minor}")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user can enter; pytest closes its own for all but their owner whenever a session starts."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(os.getuid() != 0, reason="wants root, to become the image's user")
def test_the_image_s_lines_make_what_a_step_runs_in(place):
    """Whose bytecode is compiled, whose code is that which compiled the graph, and which its user cannot write."""
    folder = place / "lockgate"
    folder.mkdir()
    set_ = replayed(folder, interpreter(place / "python"))
    home = place / "home"
    home.mkdir()
    os.chown(home, USER, USER)
    assert set_["HOME"] == "/home/lockgate"
    environment = {
        **set_,
        "HOME": str(home),
        "PATH": set_["PATH"].replace("/lockgate/", f"{folder}/").replace("$PATH", os.environ["PATH"]),
        "LD_LIBRARY_PATH": str(place / "python" / "lib"),  # the interpreter was moved
    }
    assert {"TF_USE_LEGACY_KERAS", "PYTHONUNBUFFERED"} <= set(environment)

    def step(*command: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            command, cwd="/", env=environment, user=USER, group=USER, capture_output=True, text=True, timeout=300
        )

    told = step("python", "-c", "from pipeline.runners.kubeflow.slices import code_fingerprint as f; print(f())")
    assert told.stdout.strip() == code_fingerprint(), told.stderr
    assert step("python", str(folder / "kubeflow" / "run_node.py"), "--help").returncode == 0
    told = step("lockgate", "kubeflow", "compile", "--config", "tiny", "--output", str(home / "graph.yaml"))
    assert told.returncode == 0 and (home / "graph.yaml").stat().st_uid == USER, told.stderr
    assert step("touch", str(folder / "pipeline" / "x")).returncode != 0
    packages = next(folder.glob(".venv/lib/python3.*/site-packages"))
    assert list(packages.glob("tfx/__pycache__/*.pyc")) and not list(packages.glob("pytest"))
    left = [p.name for p in folder.iterdir() if not fnmatch.fnmatch(p.name, ".venv")]
    assert set(left) <= sent() | {".python-version"}
