"""What is compiled for Vertex AI, by each step's own command, makes what a run on this machine makes."""

import json
from pathlib import Path

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
    examples = artifacts["ImportExampleGen"]["examples"]["metadata"]
    assert examples["custom:span"] == 1 and "split:train,num_files:1," in examples["input_fingerprint"]  # by the hook

    def both(node: str, output: str) -> tuple[Path, Path]:
        return tmp_path / "root" / node / output, made(finished[0], node, output)[0]

    there, here = both("ImportExampleGen", "examples")
    for split in here.iterdir():
        assert records(there / split.name) == records(split) != []
    counts = [statistics(folder)[0] for folder in both("StatisticsGen", "statistics")]
    schemas = [(folder / "schema.pbtxt").read_text() for folder in both("ImportSchemaGen", "schema")]
    found = [anomalies(folder) for folder in both("ExampleValidator", "anomalies")]
    assert counts == [1000, 1000] and schemas[0] == schemas[1] != ""
    assert found[0].baseline == found[1].baseline and not found[0].anomaly_info
