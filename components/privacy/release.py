"""A release: figures of private examples that are not a model, charged once and shown as often as one likes."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from components.common.errors import ConfigError, GateError
from components.common.remote import read
from components.common.settings import from_mapping
from components.privacy.accounting import Mechanism


@dataclass(frozen=True, kw_only=True)
class Release:
    """What a release cost. span, charge: as the ledger has them. epsilon: of the release alone, at `delta`."""

    span: str
    charge: int
    mechanism: Mechanism
    epsilon: float
    delta: float

    def save(self, folder: str) -> None:
        """Writes `release.json`."""
        Path(folder, "release.json").write_text(json.dumps(dataclasses.asdict(self), indent=2))


def load_release(folder: str) -> Release:
    """Reads what `Release.save` wrote, wherever the artifact lies.

    Raises:
        GateError: there is none, or it cannot be read.
    """
    try:
        return from_mapping(Release, json.loads(read(folder, "release.json")), "")
    except (OSError, ValueError, TypeError, AttributeError, ConfigError) as error:
        raise GateError(f"`{folder}` must hold a release.json. Received: {' '.join(str(error).split())}") from None
