"""What travels with a step: its node's slice of the compiled graph, and the fingerprints of the graph and of the code.

A command-line argument holds 128 KiB at most, so the whole graph would not fit. The fingerprints keep an image and a
graph that were not made of the same code from running together.
"""

import base64
import binascii
import hashlib
import zlib
from importlib.metadata import version
from pathlib import Path

from google.protobuf.message import DecodeError
from tfx.proto.orchestration import pipeline_pb2

import components
import pipeline
from components.common.errors import ConfigError

_SOURCES = (".py", ".j2", ".css", ".toml")
_LARGEST = 100_000  # of Linux's 131,072 bytes for one argument


def sliced(ir: pipeline_pb2.Pipeline, node_id: str) -> pipeline_pb2.Pipeline:
    """The part of a compiled pipeline that one node needs; where MLMD is stays out of it."""
    whole = pipeline_pb2.IntermediateDeploymentConfig()
    ir.deployment_config.Unpack(whole)
    own = pipeline_pb2.IntermediateDeploymentConfig()
    for name in ("executor_specs", "custom_driver_specs", "node_level_platform_configs"):
        if node_id in getattr(whole, name):
            getattr(own, name)[node_id].CopyFrom(getattr(whole, name)[node_id])
    made = pipeline_pb2.Pipeline(
        pipeline_info=ir.pipeline_info, runtime_spec=ir.runtime_spec, execution_mode=ir.execution_mode
    )
    made.nodes.extend(n for n in ir.nodes if n.pipeline_node.node_info.id == node_id)
    for neighbours in (made.nodes[0].pipeline_node.upstream_nodes, made.nodes[0].pipeline_node.downstream_nodes):
        neighbours.sort()
    made.deployment_config.Pack(own, deterministic=True)
    return made


def packed(content: bytes) -> str:
    """Bytes as the text of an argument."""
    return base64.urlsafe_b64encode(zlib.compress(content, 9)).decode()


def unpacked(text: str) -> bytes:
    """The inverse of `packed`."""
    return zlib.decompress(base64.urlsafe_b64decode(text))


def encode(part: pipeline_pb2.Pipeline) -> str:
    """A slice as text.

    Raises:
        ConfigError: it would not fit into an argument.
    """
    text = packed(part.SerializeToString(deterministic=True))
    if len(text) > _LARGEST:
        node = part.nodes[0].pipeline_node.node_info.id
        raise ConfigError(f"a step's slice must be at most {_LARGEST} bytes. Received: {len(text)} for {node}")
    return text


def decode(text: str) -> pipeline_pb2.Pipeline:
    """The inverse of `encode`.

    Raises:
        ConfigError: it is no slice.
    """
    try:
        return pipeline_pb2.Pipeline.FromString(unpacked(text))
    except (ValueError, binascii.Error, zlib.error, DecodeError):
        raise ConfigError("a step must carry a slice of a compiled graph. Received: none; compile again") from None


def graph_fingerprint(ir: pipeline_pb2.Pipeline) -> str:
    """Hexadecimal sha256 of the whole graph, node by node: what is packed inside the whole keeps no order."""
    digest = hashlib.sha256()
    for id in sorted(wrapped.pipeline_node.node_info.id for wrapped in ir.nodes):
        digest.update(sliced(ir, id).SerializeToString(deterministic=True))
    return digest.hexdigest()


def code_fingerprint() -> str:
    """Hexadecimal sha256 of every source file of this Lockgate, and of TFX's version."""
    digest = hashlib.sha256(version("tfx").encode())
    for package in (components, pipeline):
        folder = Path(package.__file__).parent
        for path in sorted(p for p in folder.rglob("*") if p.suffix in _SOURCES):
            name = f"{package.__name__}/{path.relative_to(folder)}"
            digest.update(f"\0{name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()
