"""`--cluster`: where commands find what a cluster's runs keep."""

import os
from pathlib import Path

import pytest
import yaml

from components.common import s3
from components.common.errors import ConfigError
from components.common.server_urls import LEDGER_PASSWORD, METADATA_PASSWORD, METADATA_USER
from pipeline.cluster import Runs, placed
from pipeline.config import load
from pipeline.runners.kubeflow.config import KubeflowConfig


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """What a command tells its process of S3 goes with the test."""
    for name in (s3.ENDPOINT, s3.REGION, s3.ADDRESSING):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def config_of(tmp_path: Path, **given: str):
    settings = {"root": str(tmp_path), "metadata": "mysql://mysql.kubeflow/lockgate", **given}
    return load("tiny", [f"kubeflow.{key}={value}" for key, value in settings.items()])


def test_without_the_flag_all_is_under_the_root(tmp_path):
    config = config_of(tmp_path / "elsewhere", artifacts="s3://models/lockgate")
    with placed(config, tmp_path, False, Runs.ALL) as (root, places):
        assert root == tmp_path and places.artifacts == str(tmp_path / "artifacts")
        assert places.metadata == str(tmp_path / "metadata.sqlite")


def test_with_it_all_is_where_the_table_kubeflow_says(tmp_path):
    given = {"artifacts": "s3://models/lockgate", "ledger": "postgresql://lockgate@ledger/lockgate"}
    given["s3"] = '{endpoint = "http://minio:9000", region = "eu-west-1"}'
    with placed(config_of(tmp_path, **given), tmp_path / "home", True, Runs.NONE) as (root, places):
        assert (root, places.artifacts) == (tmp_path, "s3://models/lockgate")
        assert (places.metadata, places.ledger) == ("mysql://mysql.kubeflow/lockgate", given["ledger"])
        assert places.serving == tmp_path / "serving" / "tiny"
    assert (os.environ[s3.ENDPOINT], os.environ[s3.REGION]) == ("http://minio:9000", "eu-west-1")


def test_what_the_environment_says_of_s3_stays(tmp_path, monkeypatch):
    monkeypatch.setenv(s3.ENDPOINT, "http://127.0.0.1:9001")
    given = {"artifacts": "s3://models/lockgate", "s3": '{endpoint = "http://minio:9000"}'}
    with placed(config_of(tmp_path, **given), tmp_path, True, Runs.NONE):
        assert os.environ[s3.ENDPOINT] == "http://127.0.0.1:9001"


def test_a_volume_that_is_not_mounted_is_one_line(tmp_path):
    must = "`kubeflow.root` must be the folder at which the cluster's volume is mounted"
    config = config_of(tmp_path / "none")
    with pytest.raises(ConfigError, match=must), placed(config, tmp_path, True, Runs.NONE):
        pass
    assert not (tmp_path / "none").exists()


def test_the_pod_that_the_documentation_names_has_what_the_commands_read():
    (pod,) = yaml.safe_load_all((Path(__file__).parents[2] / "kubeflow" / "manifests" / "shell.yaml").read_text())
    (container,) = pod["spec"]["containers"]
    secrets = {each["name"] for each in container["env"] if "secretKeyRef" in each.get("valueFrom", {})}
    assert secrets >= {METADATA_USER, METADATA_PASSWORD, LEDGER_PASSWORD, s3.ACCESS_KEY, s3.SECRET_KEY}
    (mounted,) = [each for each in container["volumeMounts"] if each["mountPath"] == KubeflowConfig().root]
    (volume,) = [each for each in pod["spec"]["volumes"] if each["name"] == mounted["name"]]
    assert volume["persistentVolumeClaim"]["claimName"] == KubeflowConfig().claim
