"""DataChecker: the schema's labels, anomalies, and the check that training waits for."""

import dataclasses
import json
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from components.common.artifacts import DataCheck, Drift
from components.common.errors import DataError, DriftError
from components.common.settings import to_json
from components.common.tfx_nodes import standard_artifacts
from components.example_gen.component import DataChecker, _raise_on_anomalies
from components.example_gen.config import ROLES, DataConfig, SharesConfig
from components.example_gen.core import known_labels
from tests.components.settings import DATA


def schema(folder, text: str) -> str:
    text_format.Parse(text, schema_pb2.Schema())
    Path(folder, "schema.pbtxt").write_text(text)
    return str(folder)


LABEL = 'feature {{ name: "label" type: INT int_domain {{ min: {} max: {} }} }}'


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        (LABEL.format(0, 9), range(3)),
        (LABEL.format(0, 1), range(2)),
        (LABEL.format(1, 2), range(1, 3)),
        (LABEL.format(-5, 2), range(3)),
        ('feature { name: "label" type: INT }', range(3)),
        ('feature { name: "other" type: INT int_domain { min: 1 max: 1 } }', range(3)),
    ],
)
def test_labels_are_those_that_both_schema_and_classes_know(tmp_path, text, labels):
    assert known_labels(Path(schema(tmp_path, text), "schema.pbtxt"), 3) == labels


def anomalies(folder, split: str, found: anomalies_pb2.Anomalies) -> None:
    target = Path(folder, f"Split-{split}", "SchemaDiff.pb")
    target.parent.mkdir(parents=True)
    target.write_bytes(found.SerializeToString())


def test_no_anomalies_raise_nothing(tmp_path):
    anomalies(tmp_path, "public", anomalies_pb2.Anomalies())
    _raise_on_anomalies(str(tmp_path))


def test_an_anomaly_of_a_feature_names_split_feature_and_reason(tmp_path):
    found = anomalies_pb2.Anomalies()
    found.anomaly_info["label"].description = "Out-of-range value 10."
    anomalies(tmp_path, "public", found)
    with pytest.raises(DataError, match="^split `public` must match the schema. label: Out-of-range value 10.$"):
        _raise_on_anomalies(str(tmp_path))


def test_an_anomaly_of_the_whole_split_stops_too(tmp_path):
    found = anomalies_pb2.Anomalies()
    found.dataset_anomaly_info.description = "too few examples"
    anomalies(tmp_path, "public", found)
    with pytest.raises(DataError, match="too few examples"):
        _raise_on_anomalies(str(tmp_path))


@pytest.fixture
def check(artifact, execute, public, encode, example, write_split):
    """Runs DataChecker on four splits of three good records, one more in `extra` splits, beside `earlier` Examples."""

    def run(data: DataConfig = DATA, without: str = "", earlier=(), drift=None, **extra: bytes):
        inputs = {
            "examples": artifact(standard_artifacts.Examples, "examples"),
            "schema": artifact(standard_artifacts.Schema, "schema"),
            "anomalies": artifact(standard_artifacts.ExampleAnomalies, "anomalies"),
        }
        schema(inputs["schema"].uri, LABEL.format(0, 2))
        good = [example(encode(public.images[i]), int(public.labels[i]), f"k{i}") for i in range(3)]
        for role in ROLES:
            records = [] if role == without else good
            write_split(inputs["examples"].uri, role, records + ([extra[role]] if role in extra else []))
        inputs |= ({"earlier": list(earlier)} if earlier else {}) | ({"drift": drift} if drift else {})
        made = artifact(DataCheck, "check")
        execute(DataChecker, inputs, {"check": made}, config=to_json(data), records_per_person=1)
        return json.loads(Path(made.uri, "check.json").read_text())

    return run


def test_good_records_are_counted_by_role_but_for_the_private_one(check):
    assert check() == {"examples": dict.fromkeys(set(ROLES) - {"train"}, 3)}


def test_every_role_is_checked_and_an_unnamed_record_goes_by_its_position(check, example, encode, public, tmp_path):
    with pytest.raises(DataError) as caught:
        check(
            train=example(b"junk", 1), holdout=example(encode(public.images[0]), 7, "z"), public=example(None, 1, "y")
        )
    assert str(caught.value).endswith(
        "Refused: train/record 4: the image cannot be decoded; public/y: there is no image; "
        "holdout/z: label 7 is not in [0, 2]"
    )
    assert not (tmp_path / "check" / "check.json").exists()


def test_a_private_record_that_is_no_example_is_one_line_that_does_not_quote_it(check):
    with pytest.raises(DataError, match="^split `train` must hold tf.train.Examples") as caught:
        check(train=b"secret-bytes")
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_drift_that_was_to_stop_the_run_does(check, artifact):
    drift = artifact(Drift, "drift")
    found = {"stopped": False, "reasons": ["classes is far"], "compared_with": [1, 2]}
    Path(drift.uri, "drift.json").write_text(json.dumps(found))
    assert check(drift=drift)["examples"]["holdout"] == 3
    Path(drift.uri, "drift.json").write_text(json.dumps({**found, "stopped": True}))
    with pytest.raises(DriftError, match="Against 2 earlier spans: classes is far. Nothing private was read$"):
        check(drift=drift)


def test_a_share_that_found_nobody_is_refused_before_anything_trains(check):
    shared = dataclasses.replace(
        DATA, roles=dataclasses.replace(DATA.roles, holdout=""), shares=SharesConfig(holdout=0.001)
    )
    assert check(shared)["examples"]["holdout"] == 3
    with pytest.raises(DataError, match="^role `holdout` must get .* Received: none for data.shares.holdout = 0.001$"):
        check(shared, without="holdout")


def test_a_private_record_that_an_earlier_span_has_too_is_refused(
    check, artifact, example, encode, public, write_split
):
    earlier = artifact(standard_artifacts.Examples, "earlier")
    write_split(earlier.uri, "train", [example(encode(public.images[0]), 0, "k9")])
    assert check(earlier=[earlier])["examples"]["holdout"] == 3
    write_split(earlier.uri, "train", [example(encode(public.images[0]), 0, "k1")])
    with pytest.raises(DataError, match="must be in one span, .* Received: k1$"):
        check(earlier=[earlier])
