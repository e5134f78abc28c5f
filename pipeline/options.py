"""Options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

RootOption = Annotated[Path, typer.Option("--root", envvar="LOCKGATE_ROOT", help="Folder for everything written.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
DEFAULT_ROOT = Path("~/.lockgate")
ConfigOption = Annotated[str, typer.Option("--config", help="A preset (default, full, tiny) or a TOML file.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="Override a setting: key=value. Repeatable.")]
ClusterOption = Annotated[
    bool,
    typer.Option(
        "--cluster",
        help="Work on what the configuration's table kubeflow names, its `root` included, from a pod that reaches it.",
    ),
]
