"""A compiled graph in order, a node's slice of it, and the fingerprint of the code, which keeps an image and a graph
that were not made of the same code from running together."""

import hashlib
from importlib.metadata import version
from pathlib import Path

from tfx.proto.orchestration import pipeline_pb2

import components
import pipeline

_SOURCES = (".py", ".j2", ".css", ".toml")


def sliced(ir: pipeline_pb2.Pipeline, node_id: str) -> pipeline_pb2.Pipeline:
    """The part of a compiled pipeline that one node needs; where MLMD is stays out of it."""
    return _only(ir, [node_id])


def ordered(ir: pipeline_pb2.Pipeline) -> pipeline_pb2.Pipeline:
    """All nodes of a compiled pipeline, the same for the same graph: TFX's compiler keeps no order among a node's
    neighbours, nor in what is packed inside. Where MLMD is stays out of it."""
    return _only(ir, [wrapped.pipeline_node.node_info.id for wrapped in ir.nodes])


def _only(ir: pipeline_pb2.Pipeline, ids: list[str]) -> pipeline_pb2.Pipeline:
    whole, own = pipeline_pb2.IntermediateDeploymentConfig(), pipeline_pb2.IntermediateDeploymentConfig()
    ir.deployment_config.Unpack(whole)
    for name in ("executor_specs", "custom_driver_specs", "node_level_platform_configs"):
        for id in ids:
            if id in getattr(whole, name):
                getattr(own, name)[id].CopyFrom(getattr(whole, name)[id])
    part = pipeline_pb2.Pipeline(
        pipeline_info=ir.pipeline_info, runtime_spec=ir.runtime_spec, execution_mode=ir.execution_mode
    )
    part.nodes.extend(n for n in ir.nodes if n.pipeline_node.node_info.id in ids)
    for wrapped in part.nodes:
        wrapped.pipeline_node.upstream_nodes.sort()
        wrapped.pipeline_node.downstream_nodes.sort()
    part.deployment_config.Pack(own, deterministic=True)
    return part


def code_fingerprint() -> str:
    """Hexadecimal sha256 of every source file of this Lockgate, and of TFX's version."""
    digest = hashlib.sha256(version("tfx").encode())
    for package in (components, pipeline):
        folder = Path(package.__file__).parent
        for path in sorted(p for p in folder.rglob("*") if p.suffix in _SOURCES):
            name = f"{package.__name__}/{path.relative_to(folder)}"
            digest.update(f"\0{name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()
