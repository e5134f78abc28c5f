"""Whether the steps of a run can read what a configuration names by a path."""

from pathlib import Path

from components.common.errors import ConfigError
from pipeline.config import PRESETS, Config, embedded


def check_paths(config: Config, file: Path) -> None:
    """Refuses data that would be looked for beside the configuration's file, where no step is.

    Args:
        config: what was read. file: the TOML file that it was read from, by which relative paths were resolved.

    Raises:
        ConfigError: `data.root` or `data.schema` lies in that file's folder, and neither on the cluster's volume nor
            among what comes with Lockgate.
    """
    beside = file.resolve().parent
    seen = [Path(config.kubeflow.root), Path(config.kubeflow.source), PRESETS, embedded()]
    for key, path in (("root", Path(config.data.root)), ("schema", Path(config.data.schema))):
        if path.is_relative_to(beside) and not any(path.is_relative_to(folder) for folder in seen):
            must = f"be an absolute path that steps have: on the volume, {config.kubeflow.root}/…, or in the image"
            raise ConfigError(f"`data.{key}` must {must}. Received: {path}, beside the configuration")
