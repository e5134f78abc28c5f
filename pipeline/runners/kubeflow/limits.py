"""What a cluster takes of a run, and whether a compiled pipeline stays within it.

etcd takes no request above 1.5 MiB. Argo keeps a Workflow and its status in one object of at most 1 MiB; of a larger
one it compresses the status' nodes (workflow/packer/packer.go), and if that does not help, the run is an error. Linux
takes no argument above 128 KiB, and Kubeflow's driver gets a whole component, a task, a container or a DAG of tasks as
one (backend/src/v2/compiler/argocompiler). Argo takes no task whose name is longer than 128 characters
(workflow/validate/validate.go: isValidWorkflowFieldName), and the driver of a task has a longer one than the task.
"""

from components.common.errors import ConfigError
from pipeline.runners.kubeflow.size import sizes

WORKFLOW, KEPT, ARGUMENT = 1_572_864, 1_048_576, 131_071
_NAME, _DRIVER = 128, "-driver"


class TooLarge(ConfigError):
    """A run of a pipeline would be more than a cluster can keep. fullness: how many times too large."""

    def __init__(self, message: str, fullness: float):
        super().__init__(message)
        self.fullness = fullness


def checked(spec: dict, platform: dict) -> float:
    """How large a run of a compiled pipeline becomes, as a share of what a cluster takes, whatever its release.

    Raises:
        TooLarge: it is above 1. ConfigError: a task's name is too long.
    """
    for part in (spec["root"], *spec["components"].values()):
        _check_names(part.get("dag", {}).get("tasks", {}))
    told = sizes(spec, platform, retried=True)
    taken = (
        (told.workflow, WORKFLOW, "of a Workflow, which is all that etcd takes"),
        (told.kept, KEPT, "of a Workflow with its status, which is all that Argo keeps"),
        (told.argument, ARGUMENT, "of an argument, which is all that Linux takes"),
    )
    worst, limit, what = max(taken, key=lambda each: each[0] / each[1])
    if worst > limit:
        raise TooLarge(f"a run on Kubeflow must come to at most {limit} bytes {what}. Received: {worst}", worst / limit)
    return worst / limit


def _check_names(tasks: dict[str, dict]) -> None:
    for key, task in tasks.items():
        longer = len(f"{key}{_DRIVER}") - _NAME
        if longer > 0:
            node = task["taskInfo"]["name"]
            must = f"be {longer} characters shorter for Argo: shorten its recipe's"
            raise ConfigError(f"the name of a step must {must}. Received: {node}")
