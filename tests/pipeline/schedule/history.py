"""A root as runs leave it: MLMD, artifacts, run records, journals and a serving folder, without any training."""

import dataclasses
import hashlib
import json
from pathlib import Path

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as pb
from tfx.types import artifact, standard_artifacts

from components.common import artifacts as ours
from components.common.mlmd import connection
from components.common.settings import to_json
from components.example_gen.config import RolesConfig, SharesConfig
from components.gates.push import serving
from components.gates.push.rollback import rollback
from pipeline.config import Config, load
from pipeline.places import places_of

_NODES = (  # node, its outputs, and its inputs, by the keys that the graph gives them
    ("ImportExampleGen", {"examples": "Examples"}, ()),
    ("StatisticsGen", {"statistics": "ExampleStatistics"}, ("examples",)),
    ("DataChecker", {"check": "DataCheck"}, ("examples",)),
    ("DPTrainer", {"model": "Model", "statement": "PrivacyStatement"}, ("examples", "check", "base")),
    ("Evaluator", {"blessing": "ModelBlessing"}, ("examples", "model", "baseline_model")),
    ("Quantizer", {"variant": "Variant"}, ("model", "examples")),
    ("CompressionGate", {"verdict": "Verdict"}, ("parent", "variant", "blessing")),
    ("Selector", {"selection": "Selection"}, ("variants", "verdicts")),
    ("Pusher", {"pushed": "PushedModel"}, ("selection", "variants", "verdicts")),
)
NODES = tuple(name for name, *_ in _NODES)
_SAME = {"model": "parent", "variant": "variants", "verdict": "verdicts"}  # one artifact, two keys


class History:
    """A root that runs were made on.

    Args:
        root: made by this. config: of the pipeline.
    """

    def __init__(self, root: Path, config: Config):
        self.root, self.config, self.places = root, config, places_of(root, config.name)
        root.mkdir(parents=True, exist_ok=True)
        self.store = metadata_store.MetadataStore(connection(self.places.metadata))
        self.runs = self.count = 0
        self._pushed: list[pb.Artifact] = []

    def run(self, span: int, ends: str = "pushed", last: str = "Pusher", accuracy: float = 0.5) -> str:
        """A run on a span, of which the nodes up to `last` have finished; gives its name. ends: pushed, refused, failed
        or killed; the last leaves no record."""
        self.runs += 1
        name = f"{self.config.name}-{self.runs}"
        before = self._pushed[-1:]
        artifacts: dict[str, list[pb.Artifact]] = {"base": before, "baseline_model": before}
        for node, outputs, inputs in _NODES[: NODES.index(last) + 1]:
            made = {key: self._artifact(node, key, kind) for key, kind in outputs.items()}
            self._describe(node, made, span, ends, accuracy)
            self._publish(node, name, {k: artifacts.get(k, []) for k in inputs}, made)
            artifacts |= {key: [each] for key, each in made.items()}
            artifacts |= {_SAME[key]: [each] for key, each in made.items() if key in _SAME}
        self._pushed += artifacts["model"] if ends == "pushed" else []
        self._record(name, span, ends)
        return name

    def roll_back(self) -> None:
        """Serves the version before the current one again; MLMD hears of it."""
        rollback(self.places.serving, connection(self.places.metadata), self.config.name)
        self._pushed.pop()

    def artifacts(self, kind: str, live: bool = False) -> list[pb.Artifact]:
        found = sorted(self.store.get_artifacts_by_type(kind), key=lambda a: a.id)
        return [a for a in found if not live or a.state == pb.Artifact.LIVE]

    def journal(self, name: str) -> Path:
        """What a training leaves, changed now."""
        folder = self.places.journals / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "executed").write_bytes(b"\x07".ljust(8, b"\0"))
        (folder / "state.npz").write_bytes(b"weights" * 10)
        return folder

    def files(self) -> dict[str, int]:
        """Bytes of every file under the root but MLMD's, by its path."""
        found = (p for p in self.root.rglob("*") if p.is_file() and not p.is_symlink())
        return {str(p): p.stat().st_size for p in found if p.name not in ("metadata.sqlite", "lock")}

    def _artifact(self, node: str, key: str, kind: str) -> pb.Artifact:
        known = getattr(standard_artifacts, kind, None) or getattr(ours, kind)
        made: artifact.Artifact = known()
        self.count += 1
        made.uri = str(Path(self.places.artifacts, node, key, f"{self.config.name}-{self.count}"))
        made.mlmd_artifact.type_id = self.store.put_artifact_type(made.artifact_type)
        made.mlmd_artifact.state = pb.Artifact.LIVE
        Path(made.uri).mkdir(parents=True)
        Path(made.uri, "content").write_bytes(b"x" * (self.count % 50 + 1))
        return made.mlmd_artifact

    def _describe(self, node: str, made: dict[str, pb.Artifact], span: int, ends: str, accuracy: float) -> None:
        if node == "ImportExampleGen":
            made["examples"].custom_properties["span"].int_value = span
        if node == "Evaluator":
            model = self.artifacts("Model")[-1]
            made["blessing"].custom_properties["blessed"].int_value = 1
            made["blessing"].custom_properties["current_model_id"].int_value = model.id
        if node == "Pusher":
            said = made["pushed"].custom_properties
            said["pushed"].int_value = int(ends == "pushed")
            if ends == "pushed":
                content = f"model {self.count}".encode()
                number, path = self.serve(content)
                said["sha256"].string_value, said["accuracy"].double_value = sha256(content), accuracy
                said["version"].int_value, said["path"].string_value = number, str(path)

    def serve(self, content: bytes) -> tuple[int, Path]:
        manifest = json.dumps({"sha256": sha256(content)}).encode()
        return serving.push(self.places.serving, {"model.tflite": content, "manifest.json": manifest})

    def _publish(self, node: str, run: str, inputs: dict[str, list], made: dict[str, pb.Artifact]) -> None:
        kind = self.store.put_execution_type(pb.ExecutionType(name=f"components.x.{node}"))
        execution = pb.Execution(type_id=kind, last_known_state=pb.Execution.COMPLETE)
        execution.custom_properties["config"].string_value = to_json(self.config.data)
        contexts = [self._context("pipeline", self.config.name), self._context("pipeline_run", run)]
        events = [(a, _event(pb.Event.INPUT, key)) for key, each in inputs.items() for a in each]
        events += [(a, _event(pb.Event.OUTPUT, key)) for key, a in made.items()]
        _, ids, _ = self.store.put_execution(execution, events, contexts)
        for (each, _), id in zip(events, ids, strict=True):
            each.id = id

    def _context(self, kind: str, name: str) -> pb.Context:
        type_ = self.store.put_context_type(pb.ContextType(name=kind))
        known = self.store.get_context_by_type_and_name(kind, name)
        return known or pb.Context(type_id=type_, name=name)

    def _record(self, name: str, span: int, ends: str) -> None:
        folder = self.root / "runs" / name
        folder.mkdir(parents=True)
        (folder / "log.txt").write_text("said\n" * 20)
        if ends != "killed":
            code = {"pushed": 0, "refused": 3, "failed": 1}[ends]
            told = {"run": name, "config": self.config.name, "data": {"span": span}, "exit_code": code, "cause": None}
            (folder / "run.json").write_text(json.dumps(told))


def _event(kind: int, key: str) -> pb.Event:
    step = pb.Event.Path.Step(key=key)
    return pb.Event(type=kind, path=pb.Event.Path(steps=[step, pb.Event.Path.Step(index=0)]))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def settings(folder: Path, name: str = "nightly", window: int = 1, runs: int = 1, versions: int = 1) -> Config:
    """A configuration of that retention, whose spans lie in a folder."""
    config = load("tiny", [f"data.root={folder}", f"data.window={window}"])
    roles = RolesConfig(train="span-{SPAN}/t/*", public="span-{SPAN}/p/*")
    data = dataclasses.replace(config.data, roles=roles, shares=SharesConfig(holdout=0.4, validation=0.1))
    retention = dataclasses.replace(config.retention, runs=runs, versions=versions)
    return dataclasses.replace(config, name=name, data=data, retention=retention)
