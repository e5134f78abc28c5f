"""TFX glue: the node that lets no record through unchecked."""

import glob
import json
from collections.abc import Iterator
from pathlib import Path

from components.common.artifacts import DataCheck, Drift
from components.common.errors import DataError, DriftError
from components.common.examples import readable, records
from components.common.settings import from_json
from components.common.tfx_nodes import InputArtifact, OutputArtifact, Parameter, component, standard_artifacts
from components.example_gen.config import PRIVATE, ROLES, DataConfig
from components.example_gen.core import Record, known_labels, raise_if_refused, refused
from components.example_gen.spans import check_owners


@component
def DataChecker(
    examples: InputArtifact[standard_artifacts.Examples],
    schema: InputArtifact[standard_artifacts.Schema],
    anomalies: InputArtifact[standard_artifacts.ExampleAnomalies],
    check: OutputArtifact[DataCheck],
    config: Parameter[str],
    records_per_person: Parameter[int],
    earlier: InputArtifact[list[standard_artifacts.Examples]] = None,
    drift: InputArtifact[Drift] = None,
) -> None:
    """Lets the examples through, or stops the run.

    It stops on anomalies of `public`; on `drift` where that was to stop it; on any record that does not decode, or has
    another shape or label; and on a private record that is in two spans, or of a person who has too many in this span
    and the `earlier` ones, which had a check of their own.
    """
    data = from_json(DataConfig, config)
    _raise_on_anomalies(anomalies.uri)
    if drift is not None:
        _raise_on_drift(drift.uri)
    labels = known_labels(Path(schema.uri, "schema.pbtxt"), len(data.classes))
    counts, problems = {}, {}
    for role in ROLES:
        seen = []
        problems[role] = list(refused(_counted(examples.uri, role, seen), data.image_shape, labels))
        if role not in PRIVATE:  # how many private examples there are is private too: adjacency adds or removes one
            counts[role] = len(seen)
    raise_if_refused(problems)
    for role, share in data.shares.taken().items():
        if not counts[role]:
            raise DataError(f"role `{role}` must get examples. Received: none for data.shares.{role} = {share:g}")
    span, others = examples.get_int_custom_property("span") or 0, [e.uri for e in earlier or ()]
    check_owners(examples.uri, data, span, records_per_person, others)
    Path(check.uri, "check.json").write_text(json.dumps({"examples": counts}))


def _counted(examples_uri: str, role: str, seen: list[int]) -> Iterator[Record]:
    with readable(role):
        for batch in records(examples_uri, role).as_numpy_iterator():
            for key, image, label in zip(batch["id"], batch["image"], batch["label"], strict=True):
                seen.append(1)
                yield Record(key=key.decode(errors="replace") or f"record {len(seen)}", image=image, label=int(label))


def _raise_on_drift(drift_uri: str) -> None:
    found = json.loads(Path(drift_uri, "drift.json").read_text())
    if found["stopped"]:
        against = f"{len(found['compared_with'])} earlier spans"
        raise DriftError(
            f"a span must be like those before it, or a person decides (drift.action). Against {against}: "
            f"{'; '.join(found['reasons'])}. Nothing private was read"
        )


def _raise_on_anomalies(anomalies_uri: str) -> None:
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    for file in sorted(glob.glob(f"{glob.escape(anomalies_uri)}/Split-*/SchemaDiff.pb")):
        found = anomalies_pb2.Anomalies.FromString(Path(file).read_bytes())
        reasons = [f"{name}: {info.description}" for name, info in sorted(found.anomaly_info.items())]
        if found.HasField("dataset_anomaly_info"):
            reasons.append(found.dataset_anomaly_info.description)
        if reasons:
            split = Path(file).parent.name.removeprefix("Split-")
            raise DataError(f"split `{split}` must match the schema. {' '.join(reasons)}")
