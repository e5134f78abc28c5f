"""A pipeline's root in object storage, which neither TensorFlow nor most of TFX can open.

MLMD has the artifacts where they lie, in the bucket. An executor is given folders of this machine: its inputs are
copied there before it runs, and what it made is copied into the bucket before MLMD hears of it. What TFX itself asks of
an artifact (whether a cached one is still there, the value that a condition looks at) goes through TFX's own registry
of file systems.
"""

import copy
import io
import tempfile
from pathlib import Path

import attr
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.io import fileio, filesystem, filesystem_registry  # noqa: F401 - fileio, so that ours comes after TFX's
from tfx.orchestration.portable import data_types, outputs_utils
from tfx.proto.orchestration import execution_result_pb2, pipeline_pb2
from tfx.types.artifact import Artifact

from components.common import remote
from pipeline.runners.kubeflow.shared import StampingLauncher

_FIRST = 0  # of TFX's priorities; that of TensorFlow's own, which opens one object at a time, is 10


def make_ready(root: str, node: pipeline_pb2.PipelineNode, leftovers: list[int]) -> None:
    """Makes sure that the root can be written, and removes what earlier tries of a node left there.

    Args:
        root: `s3://bucket/prefix` or `gs://bucket/prefix`. node: of the pipeline. leftovers: its executions that did
            not end well.

    Raises:
        ServiceError: the bucket is away or refuses.
    """
    remote.probe(root)
    for execution in leftovers:
        for key in node.outputs.outputs:
            remote.remove(f"{root}/{node.node_info.id}/{key}/{execution}")


class StagingLauncher(StampingLauncher):
    """TFX's launcher for a root in object storage."""

    def launch(self) -> data_types.ExecutionInfo | None:
        """Launches the node, with a folder on this machine for as long as that takes."""
        with tempfile.TemporaryDirectory(prefix="lockgate-") as folder:
            self._folder = Path(folder)
            self._output_resolver = _Outputs(self._output_resolver, self._folder / "own")
            return super().launch()

    def _run_executor(self, execution_info: data_types.ExecutionInfo) -> execution_result_pb2.ExecutorOutput:
        inputs, outputs = (self._moved(given) for given in (execution_info.input_dict, execution_info.output_dict))
        for artifacts in inputs.values():
            for artifact in artifacts:
                self._fetch(artifact.uri)
        told = super()._run_executor(attr.evolve(execution_info, input_dict=inputs, output_dict=outputs))
        for key, artifacts in outputs.items():
            said = told.output_artifacts[key].artifacts if key in told.output_artifacts else ()
            for artifact in said or [each.mlmd_artifact for each in artifacts]:
                self._publish(artifact)
        return told

    def _moved(self, given: dict[str, list[Artifact]]) -> dict[str, list[Artifact]]:
        """The same artifacts, those of the bucket in folders of this machine."""
        moved = {key: [copy.deepcopy(artifact) for artifact in artifacts] for key, artifacts in given.items()}
        for artifacts in moved.values():
            for artifact in artifacts:
                if remote.is_remote(artifact.uri):
                    artifact.uri = f"{self._folder}/{artifact.uri.replace('://', '/', 1)}"
        return moved

    def _there(self, text: str) -> str:
        """A text in which folders of this machine are what they stand for in the bucket."""
        for scheme in remote.SCHEMES:
            text = text.replace(f"{self._folder}/{scheme.replace('://', '/')}", scheme)
        return text

    def _fetch(self, folder: str) -> None:
        uri = self._there(folder)
        if remote.is_remote(uri) and not Path(folder).exists():  # two inputs may be one artifact
            remote.download(uri, Path(folder))

    def _publish(self, artifact: metadata_store_pb2.Artifact) -> None:
        """Copies an output into the bucket; where it was made is forgotten, also by what the executor noted on it."""
        local, artifact.uri = Path(artifact.uri), self._there(artifact.uri)
        for noted in (artifact.properties, artifact.custom_properties):
            for value in noted.values():
                if value.WhichOneof("value") == "string_value":
                    value.string_value = self._there(value.string_value)
        if remote.is_remote(artifact.uri):
            remote.upload(local, artifact.uri)


class _Outputs(outputs_utils.OutputsResolver):
    """Artifacts get their places in the bucket; what an execution needs for itself is on this machine."""

    def __init__(self, there: outputs_utils.OutputsResolver, own: Path):
        self._there = there
        self._node_dir = str(own)

    def generate_output_artifacts(self, execution_id: int) -> dict[str, list[Artifact]]:
        return self._there.generate_output_artifacts(execution_id)


class _Buckets(filesystem.Filesystem):
    """What TFX asks of artifacts in a bucket."""

    SUPPORTED_SCHEMES = list(remote.SCHEMES)

    @staticmethod
    def open(name: str, mode: str = "r") -> io.BytesIO:
        if mode != "rb":
            raise NotImplementedError(f"TFX opens artifacts in a bucket to read their bytes. Received: mode={mode!r}")
        return io.BytesIO(remote.read(name))

    @staticmethod
    def exists(path: str) -> bool:
        return remote.exists(path)


filesystem_registry.DEFAULT_FILESYSTEM_REGISTRY.register(_Buckets, priority=_FIRST)
