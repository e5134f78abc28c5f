"""A container of the image as Kubernetes runs a step's: the image's user, a read-only root, an environment of nothing
but the image's and the pod's.

`readOnlyRootFilesystem: true` has the container runtime mount the container's root read-only after it has made the
mount points, with what the pod mounts still writable (runc: libcontainer/rootfs_linux.go, setReadonly). Here a mount
namespace of the step's own mounts the container's root over itself read-only, and `buildah run --isolation chroot`
runs in that, with folders of this machine mounted into it.
"""

import contextlib
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.image_builder import NAME, Builder

USER = 10001
_MOUNTED_FILES = ("etc/hosts", "etc/resolv.conf")  # by buildah, into every container
_READ_ONLY = """
mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit
mount -t tmpfs -o mode=755 tmpfs "$1/run" || exit  # buildah writes and removes a file there; the user cannot
shift && exec "$@"
"""
_STAND_IN = """#!{python} -I
import os, pathlib
begun_with = pathlib.Path("/proc/self/environ").read_text().split("\\0")
for place in (here := pathlib.Path.cwd().parent, *here.rglob("*")):
    os.chown(place, {user}, {user})  # the launcher makes a step's folders as the container's user
given = [part for pair in begun_with if pair for part in ("--env", pair)]
words = {before!r} + given + {after!r} + os.sys.argv[1:]
os.execve(words[0], words, {environment!r})
"""


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container of the image. root: where its files are on this machine; mounts: folders of this machine that it can
    write, by their places in it."""

    builder: Builder
    name: str
    root: Path
    mounts: dict[str, Path]

    def words(self) -> tuple[list[str], list[str]]:
        """A command that runs another in the container, before and after its environment."""
        mounts = [part for inside, here in self.mounts.items() for part in ("--volume", f"{here}:{inside}")]
        run = self.builder.command("run", "--isolation", "chroot", *mounts)
        before = ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", _READ_ONLY, "sh", str(self.root), *run]
        return before, ["--", self.name]

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess:
        """Runs a command in it, as its user."""
        before, after = self.words()
        given = [part for name, value in environment.items() for part in ("--env", f"{name}={value}")]
        return subprocess.run([*before, *given, *after, *command], capture_output=True, text=True, timeout=600)

    def stand_in(self, file: Path) -> Path:
        """Writes a program that takes the place of `python` on this machine and runs the one in the container, in the
        environment that it was begun with."""
        before, after = self.words()
        text = _STAND_IN.format(
            python=sys.executable,
            user=USER,
            before=before,
            after=[*after, "python"],
            environment={"PATH": os.environ["PATH"]},
        )
        file.write_text(text)
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        return file


@contextlib.contextmanager
def container(builder: Builder, mounts: dict[str, Path]) -> Iterator[Container]:
    """A container of the image, with mount points made."""
    name = builder.buildah("from", "--pull-never", NAME)
    try:
        root = Path(builder.buildah("mount", name))
        for file in _MOUNTED_FILES:
            (root / file).parent.mkdir(exist_ok=True)
            (root / file).touch()
        for inside, here in mounts.items():
            (root / inside.lstrip("/")).mkdir(parents=True, exist_ok=True)
            os.chown(here, USER, USER)
        yield Container(builder=builder, name=name, root=root, mounts=mounts)
    finally:
        builder.buildah("rm", name)


def environment_of(config: dict) -> dict[str, str]:
    """What an image sets."""
    return dict(pair.split("=", 1) for pair in config.get("Env", []))
