"""The configuration that a graph was compiled from, as text that travels with it."""

import json

from pipeline.config import Config, from_dict


def written(config: Config) -> str:
    """A configuration as text."""
    return json.dumps(config.as_dict())


def read(text: str) -> Config:
    """The inverse of `written`.

    Raises:
        ConfigError: it is a configuration of another version of this code.
    """
    return from_dict(json.loads(text))
