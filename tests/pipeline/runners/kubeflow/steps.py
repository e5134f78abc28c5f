"""The arguments of a step, for tests that run one without a cluster."""

from pathlib import Path

from tfx.proto.orchestration import pipeline_pb2

from pipeline.runners.kubeflow import carried
from pipeline.runners.kubeflow.slices import code_fingerprint


def arguments(
    ir: pipeline_pb2.Pipeline,
    node: str,
    root: Path,
    metadata: str,
    run: str = "run-1",
    settings: str = "",
    code: str = "",
) -> list[str]:
    """Puts on the volume what the steps of a graph share, as its first step does, and gives the arguments of one.

    Args:
        ir: the compiled pipeline. node: id of the step's. root: of the volume. metadata: place of MLMD. run: its id.
        settings, code: see `carried.Carried`; no code: this one's.
    """
    code = code or code_fingerprint()
    text = carried.packed(carried.Carried(graph=ir, settings=settings, code=code, metadata=metadata))
    carried.keep(root, text)
    return ["--root", str(root), "--graph", carried.fingerprint(text), "--node", node, "--run", run]
