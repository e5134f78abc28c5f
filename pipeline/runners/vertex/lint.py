"""What of a graph Vertex AI cannot carry, told before TFX's compiler meets it: node by node, with the remedy.

The limits are those of KubeflowV2DagRunner in TFX 1.16 to 1.21 (`tfx/orchestration/kubeflow/v2`): on some its compiler
raises, on others a compiled step fails. A step there is TFX's executor alone: no launcher, no MLMD, no volume, and its
artifacts are at gs://.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tfx.components.infra_validator.component import InfraValidator
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.resolver import RESOLVER_CONFIG, RESOLVER_STRATEGY_CLASS, Resolver
from tfx.dsl.input_resolution.strategies.latest_artifact_strategy import LatestArtifactStrategy
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.dsl.placeholder.placeholder import Placeholder
from tfx.orchestration.kubeflow.v2 import compiler_utils
from tfx.types.artifact import Artifact
from tfx.types.channel import Channel, OutputChannel
from tfx.utils import import_utils

_CARRIED = (LatestArtifactStrategy, LatestBlessedModelStrategy)
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
_ELSEWHERE = "leave it to `lockgate run` or Kubeflow"
_KEPT = {  # by parameter of a node: what its executor needs, which no step on Vertex has
    "account": "the ledger, with MLMD's lineage or journals in a folder that is locked",
    "journals": "journals in a folder that is locked",
    "decisions": "the count of what `holdout` decided, a sqlite file that is locked",
    "serving": "the serving folder, which is locked",
}
_PATHS = ("input_base", "schema_file")

Told = Iterator[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A node that is not carried. node: its id; what: of it is not, a sentence a reason; remedies: what to do."""

    node: str
    what: tuple[str, ...]
    remedies: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.node}: {'; '.join(self.what)}. Remedy: {'; '.join(self.remedies)}"


def lint(nodes: Sequence[BaseNode], image_folder: str) -> list[Finding]:
    """Finds what is not carried.

    Args:
        nodes: that are to run on Vertex.
        image_folder: of the project in the image, whose files steps can read.

    Returns:
        A finding a node that is not carried, in the nodes' order.
    """
    fits, found = set(carried(nodes, image_folder)), []
    for node in nodes:
        told = list(_of_itself(node, image_folder))
        if not told and node.id not in fits:
            missing = ", ".join(sorted(_producers(node) - fits))
            told = [(f"takes what {missing} made, which does not run there", "run that there, too, or neither")]
        if told:
            what, remedies = zip(*told, strict=True)
            found.append(Finding(node=node.id, what=what, remedies=tuple(dict.fromkeys(remedies))))
    return found


def carried(nodes: Sequence[BaseNode], image_folder: str) -> list[str]:
    """Ids of the largest part that is carried: nodes with nothing against them, behind nothing but such nodes."""
    left = [node for node in nodes if not any(_of_itself(node, image_folder))]
    while True:
        ids = {node.id for node in left}
        closed = [node for node in left if _producers(node) <= ids]
        if len(closed) == len(left):
            return [node.id for node in left]
        left = closed


def check_name(pipeline: str) -> list[Finding]:
    """Finds that Vertex does not take the pipeline's name."""
    if _NAME.fullmatch(pipeline):
        return []
    what, remedy = "the pipeline's name is none that Vertex takes", "set `name` to a-z, 0-9 and -, 128 at most"
    return [Finding(node=pipeline, what=(what,), remedies=(remedy,))]


def _of_itself(node: BaseNode, image_folder: str) -> Told:
    """What of a node is not carried, wherever its inputs come from: what it is, and the remedy."""
    yield from _strategy(node)
    yield from _kind(node)
    yield from _channels(node)
    yield from _types(node)
    yield from _parameters(node, image_folder)
    yield from _executor(node)


def _strategy(node: BaseNode) -> Told:
    if isinstance(node, Resolver):
        strategy, config = (node.exec_properties[key] for key in (RESOLVER_STRATEGY_CLASS, RESOLVER_CONFIG))
        if strategy not in _CARRIED:
            known = " and ".join(each.__name__ for each in _CARRIED)
            yield f"resolves by {strategy.__name__}, where Vertex has {known}", _ELSEWHERE
        elif isinstance(config, dict) and config.get("desired_num_of_artifacts", 1) > 1:
            yield "resolves several artifacts, where Vertex gives one", "set desired_num_of_artifacts to 1"


def _kind(node: BaseNode) -> Told:
    if isinstance(node, InfraValidator):
        yield "is an InfraValidator, which TFX's compiler for Vertex lacks", "leave it out"


def _channels(node: BaseNode) -> Told:
    several = [name for name, channel in node.inputs.items() if not isinstance(channel, Channel)]
    if several and not isinstance(node, Resolver):
        yield f"takes {' and '.join(several)} of several nodes, where Vertex has one producer an input", _ELSEWHERE


def _types(node: BaseNode) -> Told:
    problems: dict[str, list[str]] = {}
    for type_ in dict.fromkeys(channel.type for channel in (*node.inputs.values(), *node.outputs.values())):
        problem = _type_problem(type_)
        if problem:
            problems.setdefault(problem, []).append(type_.TYPE_NAME)
    for problem, names in problems.items():
        yield f"has artifacts of {', '.join(names)} {problem}", _ELSEWHERE


def _type_problem(type_: type[Artifact]) -> str:
    """What is wrong with a type of artifacts, if anything."""
    try:
        compiler_utils.build_output_artifact_spec(OutputChannel(type_, "node", "output"))
    except ValueError:
        return "without a name like module.Type"
    except KeyError:
        return "with properties of their own"
    if compiler_utils.get_artifact_title(type_) == "tfx.Artifact":
        try:
            import_utils.import_class_by_path(type_.TYPE_NAME)
        except (ImportError, AttributeError):
            return "that a step cannot import"
    return ""


def _parameters(node: BaseNode, image_folder: str) -> Told:
    for name, value in node.exec_properties.items():
        if isinstance(value, Placeholder):
            yield f"parameter `{name}` is what another node made, which steps on Vertex do not find", _ELSEWHERE
        elif name in _KEPT and not (name == "account" and _is_post_processing(node)):
            yield f"needs {_KEPT[name]}", _ELSEWHERE
        elif name in _PATHS and not str(value).startswith(("gs://", f"{image_folder}/")):
            yield f"`{name}` is {value}, which no step on Vertex sees", "put it on gs:// or into the image"


def _is_post_processing(node: BaseNode) -> bool:
    """Whether a node is a stage that does not train on `train`, and so leaves its account alone."""
    return json.loads(node.exec_properties.get("config", "{}")).get("private", node) is None


def _executor(node: BaseNode) -> Told:
    executor = getattr(node.executor_spec, "executor_class", None)
    if executor is not None and executor.__module__.startswith("components."):
        yield "opens artifacts as files, where Vertex gives gs:// addresses", _ELSEWHERE


def _producers(node: BaseNode) -> set[str]:
    """Ids of the nodes that made a node's inputs."""
    channels = [single for channel in node.inputs.values() for single in getattr(channel, "channels", [channel])]
    return {channel.producer_component_id for channel in channels if getattr(channel, "producer_component_id", None)}
