"""The `[kubeflow]` table: where a cluster keeps things, and what a step of each kind may use."""

import re
from dataclasses import dataclass, field, replace

from components.common.server_urls import LEDGER, METADATA, server_url
from components.common.settings import require

_CPU, _MEMORY = re.compile(r"|[0-9]+(\.[0-9]+)?m?"), re.compile(r"|[0-9]+(\.[0-9]+)?(E|P|T|G|M|K|Ei|Pi|Ti|Gi|Mi|Ki)?")
_BUCKET = re.compile(r"(s3|gs)://[a-z0-9][a-z0-9._-]+(/[\w-][\w!.*'()-]*)*")
DEFAULT = "default"


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """What a step may use.

    cpu_request, cpu_limit: cores, as `2` or `500m`. memory_request, memory_limit: as `4Gi`. gpu: number of accelerators
    of gpu_type. retries: how often a step that failed is tried again. timeout_seconds: after which it is ended.
    node_selector: labels that the node must have. An empty text sets nothing.
    """

    cpu_request: str = ""
    cpu_limit: str = ""
    memory_request: str = ""
    memory_limit: str = ""
    gpu: int = 0
    gpu_type: str = "nvidia.com/gpu"
    retries: int = 2
    timeout_seconds: int = 6 * 3600
    node_selector: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        for name in ("cpu_request", "cpu_limit"):
            require(bool(_CPU.fullmatch(getattr(self, name))), name, "be cores, as 2 or 500m", getattr(self, name))
        for name in ("memory_request", "memory_limit"):
            require(bool(_MEMORY.fullmatch(getattr(self, name))), name, "be bytes, as 4Gi", getattr(self, name))
        require(self.gpu >= 0, "gpu", "be at least 0", self.gpu)
        require(0 <= self.retries <= 100, "retries", "be in [0, 100]", self.retries)
        require(self.timeout_seconds >= 1, "timeout_seconds", "be at least 1", self.timeout_seconds)


@dataclass(frozen=True, kw_only=True)
class S3Config:
    """The server of `s3://` places. endpoint: its address, such as http://minio-service.kubeflow:9000; empty: AWS.
    region: of the bucket. addressing: `path` (server/bucket), `virtual` (bucket.server), or `auto`, which is `path`
    where there is an endpoint. secret: Kubernetes secret with the keys `accesskey` and `secretkey`; empty: the role of
    the step's service account."""

    endpoint: str = ""
    region: str = "us-east-1"
    addressing: str = "auto"
    secret: str = ""

    def __post_init__(self):
        web = self.endpoint.startswith(("http://", "https://"))
        require(web or not self.endpoint, "endpoint", "begin with http:// or https://", self.endpoint)
        require("@" not in self.endpoint, "endpoint", "hold no user, who comes from secret", "…@…")
        require(bool(self.region), "region", "name a region", self.region)
        known = ("auto", "path", "virtual")
        require(self.addressing in known, "addressing", f"be one of {', '.join(known)}", self.addressing)


@dataclass(frozen=True, kw_only=True)
class KubeflowConfig:
    """Where a cluster keeps things.

    image: of every step. source: folder of the project in it. claim: persistent volume claim that all steps share;
    root: where it is mounted, and what `--root` is elsewhere. artifacts: empty: in a folder of `root`; or
    `s3://bucket/prefix`, with s3 for its server, or `gs://bucket/prefix`: only what must be locked is then on the
    volume. metadata: MLMD's server, `postgresql://host:port/database`, `mysql://host:port/database` or
    `grpc://host:port`. metadata_secret: Kubernetes secret with the `username` and `password` of the first two. ledger:
    address of the database of the ledger and of the count of decisions, `postgresql://user@host:port/database`, without
    a password; empty: files under `root`. ledger_secret: secret with its `password`. webhook_secret: secret whose keys
    are what `schedule.webhook` has as `$NAME`.
    steps: by kind of node (`DPTrainer`, `Quantizer`, `Report`, …) what it may use; those that are not named take
    `default`.
    """

    image: str = "lockgate:latest"
    source: str = "/lockgate"
    claim: str = "lockgate"
    root: str = "/mnt/lockgate"
    artifacts: str = ""
    s3: S3Config = field(default_factory=S3Config)
    metadata: str = "postgresql://lockgate-postgres:5432/mlmd"
    metadata_secret: str = "lockgate-postgres"
    ledger: str = ""
    ledger_secret: str = ""
    webhook_secret: str = ""
    steps: dict[str, StepConfig] = field(default_factory=dict)

    def __post_init__(self):
        require(bool(self.image), "image", "name an image", self.image)
        for name in ("source", "root"):
            value = getattr(self, name)
            require(value.startswith("/") and value != "/", name, "be an absolute path in the container", value)
        held = not self.artifacts or bool(_BUCKET.fullmatch(self.artifacts))
        told = "…@…" if "@" in self.artifacts else self.artifacts
        require(held, "artifacts", "be empty, s3://bucket/prefix or gs://bucket/prefix", told)
        used = self.artifacts.startswith("s3://") or self.s3 == S3Config()
        require(used, "s3", "come with artifacts that are in s3://…", self.artifacts or "artifacts on the volume")
        server_url(self.metadata, replace(METADATA, subject="`metadata`", file=False))
        if self.ledger:
            server_url(self.ledger, replace(LEDGER, subject="`ledger`", file=False))

    def step(self, kind: str) -> StepConfig:
        """What a node of this kind may use."""
        return self.steps.get(kind) or self.steps.get(DEFAULT) or StepConfig()
