"""How releases of Kubeflow Pipelines differ, as far as a compiled pipeline can see it.

Read in Kubeflow Pipelines' tags of the same names, and in Argo Workflows at the version that each brings
(manifests/kustomize/third-party/argo).
"""

from dataclasses import dataclass
from enum import Enum

ON_FAILURE, ON_ERROR, ALWAYS = "OnFailure", "OnError", "Always"


class Retried(Enum):
    """Which tasks' retryPolicy the compiler to Argo reads (backend/src/v2/compiler/argocompiler/container.go)."""

    NONE = "none"
    ROOT = "those of the root DAG"  # getTaskRetryPolicySpec
    ALL = "all"  # addContainerExecutorTemplate, getTaskRetryParametersWithValues


@dataclass(frozen=True, kw_only=True)
class Release:
    """A release. argo: its version of Argo Workflows. retried: whose retryPolicy is read.

    retry_policy: what Argo tries again: `OnFailure` (RetryStrategy.RetryPolicyActual, where nothing is set), or what
    the release's own workflow-controller-configmap sets for all templates (workflowDefaults.templateDefaults, merged by
    Argo's mergedTemplateDefaultsInto). fills_constants: whether the driver knows placeholders at all.
    driver_fills_arguments: whether the driver fills in input parameters, before the launcher does (driver.go:
    initPodSpecPatch, util.go: resolveContainerArgs).
    """

    name: str
    argo: str
    retried: Retried = Retried.ALL
    retry_policy: str = ON_FAILURE
    fills_constants: bool = True
    driver_fills_arguments: bool = False

    def __post_init__(self):
        assert self.retry_policy in (ON_FAILURE, ON_ERROR, ALWAYS), self.retry_policy

    @property
    def number(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.name.split("."))

    def since(self, name: str) -> bool:
        """Whether this release is the named one or a later one."""
        return self.number >= tuple(int(part) for part in name.split("."))


RELEASES = {
    release.name: release
    for release in (
        Release(name="2.4.1", argo="3.4.17", retried=Retried.NONE, fills_constants=False),
        Release(name="2.5.0", argo="3.5.14", retried=Retried.ROOT),
        Release(name="2.14.4", argo="3.6.7"),
        Release(name="2.15.0", argo="3.7.3"),
        Release(name="2.16.1", argo="3.7.8"),
        Release(name="2.17.0", argo="4.0.5", retry_policy=ON_ERROR, driver_fills_arguments=True),
    )
}
OLDEST, NEWEST = "2.5.0", "2.17.0"
