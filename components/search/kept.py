"""What a search has finished, in a folder: a new process finds it and goes on."""

import json
from pathlib import Path
from typing import Any

from components.common.files import write_durably


class Kept:
    """A folder of a search's own.

    Args:
        folder: made if it is not there; what an earlier process of the same search left there is taken up.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder

    def read(self, name: str) -> Any:
        """What was kept as `name`, None if nothing was."""
        path = self._folder / name
        if not path.exists():
            return None
        return json.loads(path.read_text()) if path.suffix == ".json" else path.read_bytes()

    def write(self, name: str, content: Any) -> None:
        """Keeps bytes, or what JSON can hold under a name that ends so; a reader sees all of it or nothing."""
        path = self._folder / name
        write_durably(path, json.dumps(content).encode() if path.suffix == ".json" else content)
