"""Beam nodes on two workers of their own, each a process, by the configuration alone: what they make is the same."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from components.gates.scoring.table import read_table
from pipeline.config import load
from pipeline.runners.beam.config import KINDS
from tests.e2e.conftest import run_tiny
from tests.pipeline.runners.beam.cluster import beam_cluster
from tests.pipeline.runners.kubeflow.steps import arguments


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with beam_cluster(tmp_path_factory.mktemp("beam")) as running:
        yield running


def made(root: Path, node: str, output: str) -> list[Path]:
    """What a node's executions made, the oldest first."""
    return sorted((root / "artifacts" / node / output).iterdir(), key=lambda folder: int(folder.name))


def records(split: Path) -> list[bytes]:
    """Its examples, in an order that is theirs alone; the order of a map's entries is each process's own."""
    import tensorflow as tf

    found = tf.data.TFRecordDataset(sorted(map(str, split.iterdir())), "GZIP").as_numpy_iterator()
    return sorted(tf.train.Example.FromString(record).SerializeToString(deterministic=True) for record in found)


def statistics(folder: Path):
    from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList

    (file,) = folder.glob("Split-public/FeatureStats.pb")
    (dataset,) = DatasetFeatureStatisticsList.FromString(file.read_bytes()).datasets
    return dataset.num_examples, {feature.path.step[0]: feature for feature in dataset.features}


def evaluation(folder: Path) -> dict[str, dict[str, float]]:
    """Numbers of the Evaluator by slice and name."""
    import tensorflow_model_analysis as tfma

    found = {}
    for one in tfma.load_metrics(str(folder)):
        named = {metric.key.name: metric.value.double_value.value for metric in one.metric_keys_and_values}
        found[str(one.slice_key)] = named
    return found


def assert_both_worked(jobs: list[dict[int, int]], number: int) -> None:
    """Each job had two workers of its own, and each of them had something to do."""
    assert len(jobs) == number
    for job in jobs:
        assert len(job) == 2 and min(job.values()) > 0, jobs
    assert len({pid for job in jobs for pid in job}) == 2 * number


@pytest.fixture
def steps(tmp_path):
    """Runs nodes as Kubeflow's steps do, by a configuration; gives the root."""
    from pipeline.graph import build
    from pipeline.places import places_of
    from pipeline.runners.kubeflow.node import main
    from pipeline.runners.nodes import compiled

    def run(names: tuple[str, ...], *settings: str) -> tuple[Path, list[int]]:
        root = tmp_path / "root"
        ir = compiled(build(load("tiny", list(settings)), places_of(root, "tiny"), span=1))
        metadata = str(tmp_path / "metadata.sqlite")
        return root, [main(arguments(ir, name, tmp_path / "volume", metadata)) for name in names]

    before = os.umask(0o077)
    yield run
    os.umask(before)


def test_examples_and_their_statistics_are_the_same_by_two_workers_that_a_step_of_kubeflow_uses(
    cluster, steps, finished
):
    before = len(cluster.jobs())
    root, codes = steps(("ImportExampleGen", "StatisticsGen"), f"beam_pipeline_args.default={cluster.setting}")
    assert codes == [0, 0], cluster.log()
    assert_both_worked(cluster.jobs()[before:], 2)
    here, there = (made(each, "ImportExampleGen", "examples")[0] for each in (finished[0], root))
    assert {split.name for split in there.iterdir()} == {
        f"Split-{r}" for r in ("train", "public", "validation", "holdout")
    }
    for split in there.iterdir():
        assert records(split) == records(here / split.name) != []
    (count, features), (expected_count, expected) = (
        statistics(made(each, "StatisticsGen", "statistics")[0]) for each in (root, finished[0])
    )
    assert count == expected_count == 1000 and set(features) == set(expected) > {"label", "image"}
    np.testing.assert_allclose(features["label"].num_stats.mean, expected["label"].num_stats.mean)
    assert features["id"].string_stats.unique == expected["id"].string_stats.unique


def test_what_a_worker_refuses_is_the_one_line_that_it_is_here(cluster, steps, sample, capsys):
    (damaged,) = sample.glob("span-1/holdout/images-00000*")
    damaged.write_bytes(damaged.read_bytes()[:-7] + b"nothing")
    settings = [f"beam_pipeline_args.default={cluster.setting}", f"data.root={sample}"]
    _, codes = steps(("ImportExampleGen",), *settings)
    said = capsys.readouterr().err.splitlines()[-1]
    assert codes == [2] and said.startswith("lockgate: every TFRecord file must be whole"), said


def test_a_job_server_that_is_away_is_one_line(steps, capsys):
    flags = ["--runner=PortableRunner", "--job_endpoint=localhost:9", "--job_server_timeout=1"]
    flags += ["--environment_type=EXTERNAL", "--environment_config=localhost:9"]
    _, codes = steps(("ImportExampleGen",), f"beam_pipeline_args.ImportExampleGen={json.dumps(flags)}")
    said = capsys.readouterr().err.splitlines()[-1]
    assert codes == [2] and said.startswith("lockgate: Beam's job server and its workers must answer"), said


@pytest.mark.cluster
def test_the_whole_pipeline_says_the_same_of_the_same_models_by_two_workers(cluster, tmp_path):
    root, before = tmp_path / "root", len(cluster.jobs())
    there = {kind: f"beam_pipeline_args.{kind}={cluster.setting}" for kind in KINDS}
    code, record = run_tiny(root, *there.values())
    assert code == 0, cluster.log()
    assert_both_worked(cluster.jobs()[before:], 4)
    judging = ("Evaluator", "HoldoutScorer")
    code, again = run_tiny(root, *(setting for kind, setting in there.items() if kind not in judging))
    assert code == 0 and len(cluster.jobs()) == before + 4
    states = {node["id"]: node["state"] for node in again["nodes"]}
    assert states["DPTrainer"] == states["ImportExampleGen"] == "cached"
    assert {states[node] for node in judging} == {"ran"}
    by_workers, here = (evaluation(folder) for folder in made(root, "Evaluator", "evaluation"))
    assert set(by_workers) == set(here) and len(here) == 11
    for name in here:
        assert by_workers[name] == pytest.approx(here[name], abs=1e-6, nan_ok=True)
    models = ("parent", *(f"variant:{variant['recipe']}" for variant in record["variants"]))
    tables = [read_table(str(f / "table"), models, (), 10) for f in made(root, "HoldoutScorer", "scores")]
    assert len(tables) == 2 and tables[0].fingerprint == tables[1].fingerprint and len(tables[0].labels) > 1900
    for model in models:
        np.testing.assert_allclose(tables[0].scores[model], tables[1].scores[model], atol=1e-5)
    assert again["pushed"] == record["pushed"]
