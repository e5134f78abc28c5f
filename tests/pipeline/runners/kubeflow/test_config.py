"""The `[kubeflow]` table: what it refuses, before anything is compiled."""

import pytest

from components.common.errors import ConfigError
from pipeline.config import load


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("root=s3://bucket/prefix", "kubeflow.root` must be an absolute path in the container"),
        (
            "artifacts=hdfs://bucket/prefix",
            "kubeflow.artifacts` must be empty, s3://bucket/prefix or gs://bucket/prefix",
        ),
        ("artifacts=/mnt/elsewhere", "kubeflow.artifacts` must be empty, s3://bucket/prefix or gs://bucket/prefix"),
        ("artifacts=s3://", "kubeflow.artifacts` must be empty, s3://bucket/prefix or gs://bucket/prefix"),
        (
            "artifacts=s3://bucket/prefix/",
            "kubeflow.artifacts` must be empty, s3://bucket/prefix or gs://bucket/prefix",
        ),
        (
            "artifacts=s3://bucket/../other",
            "kubeflow.artifacts` must be empty, s3://bucket/prefix or gs://bucket/prefix",
        ),
        (
            "artifacts=s3://user:secret@bucket/prefix",
            "kubeflow.artifacts` must be empty, s3://bucket/prefix or gs://bucket/prefix",
        ),
        ("s3.endpoint=minio:9000", "kubeflow.s3.endpoint` must begin with http:// or https://"),
        ("s3.endpoint=http://user:secret@minio:9000", "kubeflow.s3.endpoint` must hold no user"),
        ("s3.endpoint=minio:9000@user:secret", "kubeflow.s3.endpoint` must hold no user"),
        ("s3.endpoint=http://", "kubeflow.s3.endpoint` must be http://host:port and nothing else"),
        ("s3.endpoint=http://minio:bad", "kubeflow.s3.endpoint` must be http://host:port and nothing else"),
        ("s3.endpoint=http://minio?key=user:secret", "kubeflow.s3.endpoint` must be http://host:port and nothing else"),
        ("s3.addressing=dns", "kubeflow.s3.addressing` must be one of auto, path, virtual"),
        ("s3.secret=s3-secret", "kubeflow.s3` must come with artifacts that are in s3://"),
        ("claim=My Claim", "kubeflow.claim` must be"),
        ("claim=", "kubeflow.claim` must be"),
        ("service_account=Trainer", "kubeflow.service_account` must be a name of Kubernetes"),
        ('image_pull_secrets=["a_b"]', r"kubeflow.image_pull_secrets\[0\]` must be a name of Kubernetes"),
        (
            "image_pull_policy=Sometimes",
            "kubeflow.image_pull_policy` must be empty or one of Always, IfNotPresent, Never",
        ),
        ("run_seconds=-1", "kubeflow.run_seconds` must be in"),
        ('steps.A={cpu_request = "2", cpu_limit = "500m"}', r"steps.A.cpu_request` must be at most cpu_limit \(500m\)"),
        (
            'steps.A={memory_request = "5Gi", memory_limit = "5G"}',
            "steps.A.memory_request` must be at most memory_limit",
        ),
        (
            'steps={default = {memory_limit = "1Gi"}, A = {memory_request = "2Gi"}}',
            "steps.A.memory_request` must be at most",
        ),
        ('steps.A={ephemeral_storage = "much"}', "steps.A.ephemeral_storage` must be whole bytes, as 4Gi"),
        (
            'steps.A={tolerations = [{operator = "Equal"}]}',
            "`kubeflow.steps.A.tolerations.* must be set, or operator be Exists",
        ),
        ('steps.A={tolerations = [{key = "k", effect = "Never"}]}', "effect` must be empty or one of NoSchedule"),
        ('steps.A={tolerations = [{key = "k", seconds = 3}]}', "seconds` must come with NoExecute"),
        ('steps.A={labels = {team = "a b"}}', "steps.A.labels` must be labels of Kubernetes"),
        ('steps.A={annotations = {"a b" = "x"}}', "steps.A.annotations` must have keys as labels have"),
        ('steps.A={priority_class = "high"}', "steps.A.priority_class` must be empty, because .* podPriorityClassName"),
        ("s3.region=", "kubeflow.s3.region` must name a region"),
        ("ledger=postgresql://user:secret@h/db", "kubeflow.ledger` must hold no password"),
        ("ledger=postgresql://u@h/db?password=user:secret", "kubeflow.ledger` must have no options but"),
        ("ledger=postgres://u@h/db", "kubeflow.ledger` must be one of postgresql://, mysql://, mariadb://"),
        ("ledger=sqlite:///x", "kubeflow.ledger` must be one of"),
        ("ledger=/mnt/lockgate/ledger.sqlite", "kubeflow.ledger` must be one of"),
        ("ledger=mysql://u@h:bad/db", "kubeflow.ledger` must have a host and a port"),
        ("metadata=postgresql://user:secret@h/db", "kubeflow.metadata` must hold no password"),
        ("metadata=mysql://user@h/db", "kubeflow.metadata` must hold no user"),
        (
            "metadata=/mnt/lockgate/metadata.sqlite",
            "kubeflow.metadata` must be one of postgresql://, mysql://, grpc://",
        ),
        ("metadata=postgresql://h/db?sslmode=require", "kubeflow.metadata` must have no options. MLMD's client"),
        ("claim=shared.lockgate", "kubeflow.claim` must be a name of at most 63 letters"),
        (f"claim={64 * 'c'}", "kubeflow.claim` must be a name of at most 63 letters"),
        ("claim=", "kubeflow.claim` must be a name of at most 63 letters"),
        ("ledger_secret=Ledger", "kubeflow.ledger_secret` must be a name of Kubernetes"),
        ("root=/mnt/a:b", "kubeflow.root` must be an absolute path in the container, of plain names"),
        ("root=/mnt/{{workflow.name}}", "kubeflow.root` must be an absolute path in the container, of plain names"),
        ("root=/mnt/../etc", "kubeflow.root` must be an absolute path in the container, of plain names"),
        ("root=/tmp", "kubeflow.root` must be another folder than /tmp"),
        ('image="a b"', "kubeflow.image` must name an image"),
        ('gpu_image="{{workflow.name}}"', "kubeflow.gpu_image` must name one"),
        ('steps.default.tolerations=[{key="a key"}]', "tolerations.*key` must be written as a label's"),
        ('steps.default.tolerations=[{key="k", value="a value"}]', "tolerations.*value` must be written as a label's"),
        ("run_seconds=99999999999", "kubeflow.run_seconds` must be in"),
        ("steps.default.timeout_seconds=3000000000", "steps.default.timeout_seconds` must be in"),
        ('steps.default.memory_limit="1.5Gi"', "steps.default.memory_limit` must be whole bytes"),
        ('steps.default.ephemeral_storage="4000000K"', "steps.default.ephemeral_storage` must be whole bytes"),
        ('steps.DPTrainer.gpu_type="nvidia"', "steps.DPTrainer.gpu_type` must be a resource of Kubernetes"),
        ('steps.DPTrainer.gpu_type="--gpu/x"', "steps.DPTrainer.gpu_type` must be a resource of Kubernetes"),
    ],
)
def test_what_it_refuses(setting, says):
    with pytest.raises(ConfigError, match=says) as refused:
        load("tiny", [f"kubeflow.{setting}"])
    assert "user:secret" not in str(refused.value)


def test_a_bucket_with_and_without_a_prefix():
    for place in ("s3://bucket.of-ours", "gs://bucket_of/ours", "s3://bucket/some/deep_prefix.1"):
        assert load("tiny", [f"kubeflow.artifacts={place}"]).kubeflow.artifacts == place


def test_a_kind_takes_from_the_default_what_it_leaves_out_and_what_it_says_stands():
    steps = '{default = {gpu = 1, retries = 5, memory_limit = "4Gi"}, Report = {gpu = 0, retries = 2}}'
    cluster = load("tiny", [f"kubeflow.steps={steps}"]).kubeflow
    report, other = cluster.step("Report"), cluster.step("Pusher")
    assert (report.gpu, report.retries, report.memory_limit, report.timeout_seconds) == (0, 2, "4Gi", 6 * 3600)
    assert (other.gpu, other.retries, other.gpu_type) == (1, 5, "nvidia.com/gpu")
    assert load("tiny").kubeflow.step("Report").retries == 2


def test_requests_and_limits_are_compared_as_kubernetes_counts_them():
    for table in (
        'cpu_request = "1500m", cpu_limit = "1.5"',
        'memory_request = "1G", memory_limit = "1Gi"',
        'memory_request = "1024Ki", memory_limit = "1Mi"',
        'memory_request = "4294967296", memory_limit = "4Gi"',
    ):
        load("tiny", [f"kubeflow.steps.A={{{table}}}"])
