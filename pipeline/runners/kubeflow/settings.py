"""The configuration that a graph was compiled from, as text that travels with its steps."""

import json

from pipeline.config import Config, from_dict
from pipeline.runners.kubeflow.slices import packed, unpacked


def written(config: Config) -> str:
    """A configuration as the text of an argument."""
    return packed(json.dumps(config.as_dict()).encode())


def read(text: str) -> Config:
    """The inverse of `written`.

    Raises:
        ConfigError: it is a configuration of another version of this code.
    """
    return from_dict(json.loads(unpacked(text)))
