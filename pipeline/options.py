"""Options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

RootOption = Annotated[Path, typer.Option("--root", envvar="LOCKGATE_ROOT", help="Folder for everything written.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
DEFAULT_ROOT = Path("~/.lockgate")
