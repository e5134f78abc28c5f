"""The image, built by buildah with no registry of images in reach.

What `docker build` does, `buildah build --isolation chroot` does to the same Dockerfile and `.dockerignore`. The base
that it names, Docker's `python:3.x-slim-…`, is made here: Debian's smallest system by debootstrap, and this machine's
Python in /usr/local, as Docker's has it. It is larger than Docker's, so the size that is measured is no smaller.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.conftest import PROJECT

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
DEBIAN = {"3.10": "bookworm", "3.11": "trixie"}[VERSION]  # as the Dockerfile says
NAME = "localhost/lockgate:built"
_TIME_SUFFIX = {"bookworm": "", "trixie": "t64"}[DEBIAN]  # of libraries whose time_t became 64 bits wide
_LIBRARIES = (
    *(f"{name}{_TIME_SUFFIX}" for name in ("libssl3", "libreadline8")),
    *("libsqlite3-0", "libffi8", "libbz2-1.0", "liblzma5", "zlib1g", "libuuid1", "libncursesw6", "ca-certificates"),
)
_CONFIGURED = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")  # how pip and uv reach their index here
_BUILD_SECONDS = 3600


def missing() -> str:
    """What this machine lacks to build an image; empty: nothing."""
    if os.getuid() != 0:
        return "root, to make a base image"
    return next((f"Debian's package {tool}" for tool in ("buildah", "debootstrap") if not shutil.which(tool)), "")


@dataclass(frozen=True, kw_only=True)
class Builder:
    """buildah with images of its own. folder: for all of it; about 15 GB while an image is built."""

    folder: Path

    def buildah(self, *arguments: str) -> str:
        """Runs buildah; gives what it printed.

        Raises:
            RuntimeError: it failed.
        """
        result = subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=_BUILD_SECONDS)
        if result.returncode != 0:
            raise RuntimeError(f"buildah {arguments[0]} must succeed: {result.stdout[-2000:]}{result.stderr[-6000:]}")
        return result.stdout.strip()

    def command(self, *arguments: str) -> list[str]:
        storage = ("--root", str(self.folder / "storage"), "--runroot", str(self.folder / "state"))
        return ["buildah", *storage, "--storage-driver", "vfs", *arguments]

    def base(self) -> None:
        """Makes the image that the Dockerfile begins with."""
        root = self.folder / "base"
        _debian(root)
        _python(root)
        container = self.buildah("from", "scratch")
        self.buildah("copy", "--quiet", container, str(root), "/")
        self.buildah("config", "--env", "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", container)
        self.buildah("commit", "--quiet", "--rm", container, f"docker.io/library/python:{VERSION}-slim-{DEBIAN}")
        shutil.rmtree(root)

    def build(self, **arguments: str) -> None:
        """Builds the Dockerfile as image NAME, with these build arguments besides the Python's version."""
        arguments = {"PYTHON": VERSION, "DEBIAN": DEBIAN, **arguments}
        given = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
        trust = self.folder / "uv.toml"
        trust.write_text("system-certs = true\n")
        mounts = [(file, file) for file in _CONFIGURED if Path(file).exists()] + [(str(trust), "/etc/uv/uv.toml")]
        given += [part for here, there in mounts for part in ("--volume", f"{here}:{there}:ro")]
        how = ("--isolation", "chroot", "--pull-never", "--layers=false", "--file", "kubeflow/Dockerfile")
        self.buildah("build", *how, *given, "--tag", NAME, str(PROJECT))

    def config(self) -> dict:
        """The image's configuration, as OCI's specification has it."""
        return json.loads(self.buildah("inspect", "--type", "image", NAME))["OCIv1"]["config"]

    def size(self) -> int:
        """Bytes of all of the image's layers, as a node keeps them: not compressed."""
        (image,) = [each for each in json.loads(self.buildah("images", "--json")) if NAME in (each["names"] or [])]
        layers = json.loads((self.folder / "storage" / "vfs-layers" / "layers.json").read_text())
        by_id = {layer["id"]: layer for layer in layers}
        images = json.loads((self.folder / "storage" / "vfs-images" / "images.json").read_text())
        (top,) = [each["layer"] for each in images if each["id"].startswith(image["id"])]
        total = 0
        while top:
            total += by_id[top]["diff-size"]
            top = by_id[top].get("parent")
        return total


def _debian(root: Path) -> None:
    """Debian's smallest system, from where this machine's apt takes its packages."""
    targets = ("apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian", "Component: main")
    known = subprocess.run(targets, capture_output=True, text=True).stdout.split()
    mirror = [known[0].rstrip("/")] if known else []
    libraries = f"--include={','.join(_LIBRARIES)}"
    bootstrap = subprocess.run(
        ["debootstrap", "--variant=minbase", libraries, DEBIAN, str(root), *mirror],
        capture_output=True,
        text=True,
        timeout=_BUILD_SECONDS,
    )
    if bootstrap.returncode != 0:
        raise RuntimeError(f"debootstrap must succeed: {bootstrap.stdout[-2000:]}{bootstrap.stderr[-2000:]}")
    for folder in ("dev", "var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
        for left in (root / folder).iterdir():  # as Docker's slim images leave it out
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()


def _python(root: Path) -> None:
    """This Python, without its packages, in /usr/local, and a pip."""
    left_out = shutil.ignore_patterns("site-packages", "test", "idlelib", "*.a", "__pycache__")
    shutil.copytree(sys.base_prefix, root / "usr" / "local", symlinks=True, dirs_exist_ok=True, ignore=left_out)
    subprocess.run(["chroot", root, "ldconfig"], check=True)
    pip = ("/usr/local/bin/python3", "-m", "ensurepip", "--default-pip")
    subprocess.run(["chroot", root, *pip], check=True, capture_output=True)
