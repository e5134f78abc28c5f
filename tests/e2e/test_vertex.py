"""What is compiled for Vertex AI, by each step's own command, makes what a run on this machine makes."""

import json

import pytest

from pipeline.config import load
from pipeline.runners.vertex.compile import compile_config
from tests.e2e.conftest import PROJECT
from tests.e2e.test_beam import made, records, statistics
from tests.pipeline.runners.vertex.service import Service

pytestmark = pytest.mark.cluster
NODES = ["ImportExampleGen", "StatisticsGen", "ImportSchemaGen", "ExampleValidator"]


def anomalies(folder):
    from tensorflow_metadata.proto.v0.anomalies_pb2 import Anomalies

    return Anomalies.FromString((folder / "Split-public/SchemaDiff.pb").read_bytes())


def test_steps_on_vertex_make_what_a_local_run_makes(finished, tmp_path):
    settings = ('vertex.root="gs://bucket/root"', f"vertex.nodes={json.dumps(NODES)}", f'kubeflow.source="{PROJECT}"')
    compile_config(load("tiny", list(settings)), tmp_path / "tiny.json")
    service = Service(folder=tmp_path / "root", source=PROJECT)
    artifacts = service.run(json.loads((tmp_path / "tiny.json").read_text()))
    assert set(artifacts) == set(NODES)
    root, there = finished[0], tmp_path / "root"
    examples = artifacts["ImportExampleGen"]["examples"]["metadata"]
    assert examples["span"] == 1 and "total_num_files:9" in examples["input_fingerprint"], "the driver chose the span"
    here = made(root, "ImportExampleGen", "examples")[0]
    for split in here.iterdir():
        assert records(there / "ImportExampleGen/examples" / split.name) == records(split) != []
    counts = [
        s[0]
        for s in map(statistics, (there / "StatisticsGen/statistics", made(root, "StatisticsGen", "statistics")[0]))
    ]
    assert counts == [1000, 1000]
    schemas = [(folder / "schema.pbtxt").read_text() for folder in (
        there / "ImportSchemaGen/schema", made(root, "ImportSchemaGen", "schema")[0])]  # fmt: skip
    assert schemas[0] == schemas[1] != ""
    found = [
        anomalies(f) for f in (there / "ExampleValidator/anomalies", made(root, "ExampleValidator", "anomalies")[0])
    ]
    assert found[0].baseline == found[1].baseline and not found[0].anomaly_info
