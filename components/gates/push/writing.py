"""One writer at a time in a serving folder."""

from contextlib import AbstractContextManager
from pathlib import Path

from components.common.locks import alone


def writing(folder: Path) -> AbstractContextManager[None]:
    """Keeps other writers out; their lock lies beside the folder, which holds versions and nothing else."""
    return alone(folder.with_name(f".{folder.name}.lock"), f"the serving folder {folder}")
