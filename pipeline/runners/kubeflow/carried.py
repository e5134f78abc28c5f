"""What all steps of a compiled graph share: the graph, the configuration, where MLMD is, and of which code they are.

It travels once, as arguments of the step that runs first, which puts it on the volume; the others name it by its
sha256. In every step's own arguments it would be most of what etcd and Argo have to keep of a run.
"""

import base64
import binascii
import hashlib
import json
import lzma
import tempfile
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError
from tfx.proto.orchestration import pipeline_pb2

from components.common.errors import ConfigError
from components.common.files import write_durably
from pipeline.guards import unwritable
from pipeline.runners.kubeflow.slices import ordered

_LARGEST_ARGUMENT = 100_000  # of Linux's 131,072 bytes (MAX_ARG_STRLEN)
_CARRIES = "--carries="
_FOLDER = "graphs"
_DAMAGED = "what the steps of a graph share must be as `lockgate kubeflow compile` wrote it"


@dataclass(frozen=True, kw_only=True)
class Carried:
    """What all steps share.

    graph: TFX's intermediate representation of the pipeline. settings: the configuration, see `settings.written`;
    empty for a graph that no configuration made. code: `slices.code_fingerprint` of the code that compiled it.
    metadata: place of MLMD.
    """

    graph: pipeline_pb2.Pipeline
    settings: str
    code: str
    metadata: str


def packed(carried: Carried) -> str:
    """It as text, the same for the same content."""
    head = json.dumps({"settings": carried.settings, "code": carried.code, "metadata": carried.metadata})
    content = head.encode() + b"\n" + ordered(carried.graph).SerializeToString(deterministic=True)
    small = lzma.compress(content, format=lzma.FORMAT_ALONE, preset=9 | lzma.PRESET_EXTREME)
    return base64.urlsafe_b64encode(small).decode()


def unpacked(text: str) -> Carried:
    """The inverse of `packed`.

    Raises:
        ConfigError: it is something else.
    """
    try:
        head, _, graph = lzma.decompress(base64.urlsafe_b64decode(text)).partition(b"\n")
        return Carried(graph=pipeline_pb2.Pipeline.FromString(graph), **json.loads(head))
    except (ValueError, TypeError, binascii.Error, lzma.LZMAError, DecodeError, EOFError):
        raise ConfigError(f"{_DAMAGED}. Received: something else; compile again") from None


def fingerprint(text: str) -> str:
    """Hexadecimal sha256 of the packed text, by which steps name it."""
    return hashlib.sha256(text.encode()).hexdigest()


def arguments(text: str) -> list[str]:
    """The packed text as arguments of the first step, in pieces that Linux takes."""
    return [f"{_CARRIES}{text[i : i + _LARGEST_ARGUMENT]}" for i in range(0, len(text), _LARGEST_ARGUMENT)]


def among(given: list[str]) -> Carried | None:
    """What a step's arguments bring; None if that is nothing."""
    pieces = [argument.removeprefix(_CARRIES) for argument in given if argument.startswith(_CARRIES)]
    return unpacked("".join(pieces)) if pieces else None


def keep(root: Path, text: str) -> None:
    """Puts it on the volume, where it stays as it is.

    Raises:
        ServiceError: the volume cannot be written.
    """
    file, content = _file(root, fingerprint(text)), text.encode()
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not file.exists() or file.read_bytes() != content:
            with tempfile.TemporaryDirectory(prefix=".", dir=file.parent) as own:  # another run may write the same now
                write_durably(Path(own, file.name), content)
                Path(own, file.name).replace(file)
    except OSError as error:
        raise unwritable(file.parent, error) from None


def kept(root: Path, graph: str) -> Carried:
    """What the first step of a run has put on the volume.

    Args:
        graph: its fingerprint.

    Raises:
        ConfigError: it is not there, or is not what it was.
    """
    file = _file(root, graph)
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        must = "what the steps of a graph share must be on the volume, where the first step puts it: start a new run"
        raise ConfigError(f"{must}. Received: {file} ({getattr(error, 'strerror', error)})") from None
    if fingerprint(text) != graph:
        raise ConfigError(f"{_DAMAGED}. Received: another {file}; start a new run")
    return unpacked(text)


def _file(root: Path, graph: str) -> Path:
    return root / _FOLDER / graph
