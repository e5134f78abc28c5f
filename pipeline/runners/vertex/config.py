"""The `[vertex]` table: what of the graph Vertex AI runs, and where it keeps what that makes."""

from dataclasses import dataclass

from components.common.settings import require


@dataclass(frozen=True, kw_only=True)
class VertexConfig:
    """What Vertex AI runs, from the image that `[kubeflow]` names.

    root: of the artifacts, `gs://bucket/folder`. nodes: ids of the nodes that run there; none: all of the graph.
    """

    root: str = ""
    nodes: tuple[str, ...] = ()

    def __post_init__(self):
        require(not self.root or self.root.startswith("gs://"), "root", "be gs://bucket/folder", self.root)
