"""The `[kubeflow]` table: where a cluster keeps things, and what a step of each kind may use."""

import re
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal

from components.common.errors import ConfigError
from components.common.server_urls import LEDGER, METADATA, server_url
from components.common.settings import qualified, require

_CPU, _MEMORY = re.compile(r"|[0-9]+(\.[0-9]+)?m?"), re.compile(r"|[0-9]+(E|P|T|G|M|Ei|Pi|Ti|Gi|Mi|Ki)?")
_PATH, _IMAGE = re.compile(r"(/[\w+-][\w.+-]*)+"), re.compile(r"[\w./:@+-]+")
_MOUNTED = ("/tmp", "/gcs", "/s3", "/minio", "/kfp-launcher", "/.local", "/.cache", "/.config")  # by Kubeflow, or us
_BUCKET = re.compile(r"(s3|gs)://[a-z0-9][a-z0-9._-]+(/[\w-][\w!.*'()-]*)*")
_SERVER = re.compile(r"https?://([\w.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?(/[\w./-]*)?")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")  # a DNS subdomain, RFC 1123
_VOLUME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # a DNS label, RFC 1123
_LABEL_KEY = re.compile(r"([a-z0-9][a-z0-9.-]{0,252}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL = re.compile(r"|[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_SUFFIXES = {"m": Decimal("0.001"), "": 1} | {
    letter + i: Decimal(1024 if i else 1000) ** power for power, letter in enumerate("KMGTPE", 1) for i in ("", "i")
}
_LONGEST = 366 * 24 * 3600  # seconds; 101 tries of it are still a duration to Argo, and one a deadline to Kubernetes
DEFAULT = "default"


@dataclass(frozen=True, kw_only=True)
class Toleration:
    """A taint of nodes that a step puts up with, as Kubernetes has it. operator: `Equal` or `Exists`. effect: empty for
    all, or `NoSchedule`, `PreferNoSchedule`, `NoExecute`; seconds: how long, of the last."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""
    seconds: int | None = None

    def __post_init__(self):
        require(self.operator in ("Equal", "Exists"), "operator", "be Equal or Exists", self.operator)
        known = ("", "NoSchedule", "PreferNoSchedule", "NoExecute")
        require(self.effect in known, "effect", f"be empty or one of {', '.join(known[1:])}", self.effect)
        require(bool(self.key) or self.operator == "Exists", "key", "be set, or operator be Exists", self.key)
        written = not self.key or bool(_LABEL_KEY.fullmatch(self.key))
        require(written, "key", "be written as a label's", self.key)
        require(bool(_LABEL.fullmatch(self.value)), "value", "be written as a label's", self.value)
        require(not self.value or self.operator == "Equal", "value", "be empty where operator is Exists", self.value)
        require(self.seconds is None or self.effect == "NoExecute", "seconds", "come with NoExecute", self.seconds)


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """What a step may use.

    cpu_request, cpu_limit: cores, as `2` or `500m`. memory_request, memory_limit: as `4Gi`. gpu: number of accelerators
    of gpu_type. ephemeral_storage: size of a folder of its own at /tmp, as `20Gi`, for copies of artifacts; a pod that
    takes more is evicted. retries: how often a step that failed is tried again. timeout_seconds: after which a try is
    ended. node_selector: labels that the node must have. tolerations: taints that it may have. labels, annotations: of
    the pod. priority_class: must be empty, see docs/schedules.md. What is left out (None, or empty) is as `default` has
    it, or else as BUILT_IN.
    """

    cpu_request: str = ""
    cpu_limit: str = ""
    memory_request: str = ""
    memory_limit: str = ""
    gpu: int | None = None
    gpu_type: str = ""
    ephemeral_storage: str = ""
    retries: int | None = None
    timeout_seconds: int | None = None
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    priority_class: str = ""

    def __post_init__(self):
        for name in ("cpu_request", "cpu_limit"):
            require(bool(_CPU.fullmatch(getattr(self, name))), name, "be cores, as 2 or 500m", getattr(self, name))
        for name in ("memory_request", "memory_limit", "ephemeral_storage"):
            require(bool(_MEMORY.fullmatch(getattr(self, name))), name, "be whole bytes, as 4Gi", getattr(self, name))
        for kind in ("cpu", "memory"):
            self._check_limit(kind)
        every = "podPriorityClassName under workflowDefaults.spec of workflow-controller-configmap gives all runs one"
        must = f"be empty, because Kubeflow Pipelines cannot give a step one: {every}"
        require(not self.priority_class, "priority_class", must, self.priority_class)
        require(self.gpu is None or self.gpu >= 0, "gpu", "be at least 0", self.gpu)
        require(self.retries is None or 0 <= self.retries <= 100, "retries", "be in [0, 100]", self.retries)
        lasts = self.timeout_seconds is None or 1 <= self.timeout_seconds <= _LONGEST
        require(lasts, "timeout_seconds", f"be in [1, {_LONGEST}]", self.timeout_seconds)
        resource = not self.gpu_type or ("/" in self.gpu_type and bool(_LABEL_KEY.fullmatch(self.gpu_type)))
        require(resource, "gpu_type", "be a resource of Kubernetes, as nvidia.com/gpu", self.gpu_type)
        for name in ("labels", "node_selector"):
            for key, value in getattr(self, name).items():
                valid = _LABEL_KEY.fullmatch(key) and _LABEL.fullmatch(value)
                require(bool(valid), name, "be labels of Kubernetes (at most 63 letters, digits, -, _ and .)", key)
        for key in self.annotations:
            require(bool(_LABEL_KEY.fullmatch(key)), "annotations", "have keys as labels have", key)

    def _check_limit(self, kind: str) -> None:
        """Kubernetes refuses the pod otherwise, once the run has begun."""
        request, limit = getattr(self, f"{kind}_request"), getattr(self, f"{kind}_limit")
        within = not request or not limit or _amount(request) <= _amount(limit)
        require(within, f"{kind}_request", f"be at most {kind}_limit ({limit})", request)

    def over(self, default: "StepConfig") -> "StepConfig":
        """This, and of another what it leaves out.

        Raises:
            ConfigError: the two do not go together.
        """
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(default, **{name: value for name, value in own.items() if value not in (None, "", {}, ())})


BUILT_IN = StepConfig(gpu=0, gpu_type="nvidia.com/gpu", retries=2, timeout_seconds=6 * 3600)


def _amount(quantity: str) -> Decimal:
    """A quantity of Kubernetes as a number."""
    number = quantity.rstrip("mKMGTPEi")
    return Decimal(number) * _SUFFIXES[quantity[len(number) :]]


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
        require("@" not in self.endpoint, "endpoint", "hold no user, who comes from secret", "…@…")
        web = self.endpoint.startswith(("http://", "https://"))
        require(web or not self.endpoint, "endpoint", "begin with http:// or https://", self.endpoint)
        server = not self.endpoint or bool(_SERVER.fullmatch(self.endpoint))
        require(server, "endpoint", "be http://host:port and nothing else", f"{self.endpoint.partition('://')[0]}://…")
        require(bool(self.region), "region", "name a region", self.region)
        known = ("auto", "path", "virtual")
        require(self.addressing in known, "addressing", f"be one of {', '.join(known)}", self.addressing)


@dataclass(frozen=True, kw_only=True)
class KubeflowConfig:
    """Where a cluster keeps things.

    image: of every step; gpu_image: of those that ask for accelerators, which is built with CUDA. image_pull_secrets:
    Kubernetes secrets of its registry; image_pull_policy: `Always`, `IfNotPresent`, `Never`, or empty for Kubernetes'
    own choice. source: folder of the project in it.
    service_account: of the steps of runs that `lockgate kubeflow run` and `schedule` start; empty: Kubeflow's own.
    run_seconds: after which a whole run is ended, also one whose pods find no node; 0: never. Kubeflow Pipelines older
    than 2.17 refuse a file that has it.
    claim: persistent volume claim that all steps share; root: where it is mounted, and what `--root` is elsewhere.
    artifacts: empty: in a folder of `root`; or `s3://bucket/prefix`, with s3 for its server, or `gs://bucket/prefix`:
    only what must be locked is then on the volume.
    metadata: MLMD's server, `postgresql://host:port/database`, `mysql://host:port/database` or
    `grpc://host:port`. metadata_secret: Kubernetes secret with the `username` and `password` of the first two. ledger:
    address of the database of the ledger and of the count of decisions, `postgresql://user@host:port/database`, without
    a password; empty: files under `root`. ledger_secret: secret with its `password`. webhook_secret: secret whose keys
    are what `schedule.webhook` has as `$NAME`.
    steps: by kind of node (`DPTrainer`, `Quantizer`, `Report`, `Pushed`) what it may use; what a kind leaves out it
    takes from `default`.
    """

    image: str = "lockgate:latest"
    gpu_image: str = ""
    image_pull_secrets: tuple[str, ...] = ()
    image_pull_policy: str = ""
    source: str = "/lockgate"
    service_account: str = ""
    run_seconds: int = 0
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
        require(bool(_IMAGE.fullmatch(self.image)), "image", "name an image", self.image)
        require(not self.gpu_image or bool(_IMAGE.fullmatch(self.gpu_image)), "gpu_image", "name one", self.gpu_image)
        names = {"service_account": self.service_account, "metadata_secret": self.metadata_secret}
        names |= {"ledger_secret": self.ledger_secret, "webhook_secret": self.webhook_secret}
        names |= {f"image_pull_secrets[{i}]": name for i, name in enumerate(self.image_pull_secrets)}
        for setting, name in names.items():
            require(
                not name or bool(_NAME.fullmatch(name)), setting, "be a name of Kubernetes (a-z, 0-9, - and .)", name
            )
        volume = bool(_VOLUME.fullmatch(self.claim))  # Kubeflow's driver makes the volume's name of it
        require(volume, "claim", "be a name of at most 63 letters (a-z), digits and -, as a volume has it", self.claim)
        known = ("", "Always", "IfNotPresent", "Never")
        policy = self.image_pull_policy
        require(policy in known, "image_pull_policy", f"be empty or one of {', '.join(known[1:])}", policy)
        require(0 <= self.run_seconds <= _LONGEST, "run_seconds", f"be in [0, {_LONGEST}]", self.run_seconds)
        for name in ("source", "root"):
            value = getattr(self, name)
            require(bool(_PATH.fullmatch(value)), name, "be an absolute path in the container, of plain names", value)
        require(self.root not in _MOUNTED, "root", f"be another folder than {', '.join(_MOUNTED)}", self.root)
        held = not self.artifacts or bool(_BUCKET.fullmatch(self.artifacts))
        told = "…@…" if "@" in self.artifacts else self.artifacts
        require(held, "artifacts", "be empty, s3://bucket/prefix or gs://bucket/prefix", told)
        used = self.artifacts.startswith("s3://") or self.s3 == S3Config()
        require(used, "s3", "come with artifacts that are in s3://…", self.artifacts or "artifacts on the volume")
        server_url(self.metadata, replace(METADATA, subject="`metadata`", file=False))
        if self.ledger:
            server_url(self.ledger, replace(LEDGER, subject="`ledger`", file=False))
        for kind in self.steps:
            try:
                self.step(kind)
            except ConfigError as error:
                raise ConfigError(qualified(str(error), f"steps.{kind}")) from None

    def step(self, kind: str) -> StepConfig:
        """What a node of this kind may use."""
        default = self.steps.get(DEFAULT, StepConfig()).over(BUILT_IN)
        return self.steps[kind].over(default) if kind in self.steps else default

    def check_kinds(self, kinds: set[str]) -> None:
        """Refuses tables of kinds of node that a graph has not.

        Raises:
            ConfigError: there is one.
        """
        unknown = sorted(set(self.steps) - kinds - {DEFAULT})
        if unknown:
            known = ", ".join(sorted(kinds | {DEFAULT}))
            raise ConfigError(f"`kubeflow.steps` must name kinds of node ({known}). Received: {unknown[0]}")
