"""The `[beam_pipeline_args]` table: flags of Beam by kind of node, as far as the text alone tells whether they hold."""

import re

from components.common.errors import ConfigError
from components.common.settings import require

KINDS = ("ImportExampleGen", "StatisticsGen", "Evaluator", "HoldoutScorer")  # of the nodes that run on Beam
DEFAULT = "default"
TABLE = "beam_pipeline_args"

_FLAG = re.compile(r"--([A-Za-z]\w*)(=[^\n]*)?")
_SECRET = ("s3_secret_access_key", "s3_session_token", "azure_connection_string")


def check_text(args: dict[str, tuple[str, ...]]) -> None:
    """Refuses, by the text alone, a node that does not run on Beam, what is no flag, and a flag that holds a secret.

    Raises:
        ConfigError: one line that says what must hold and what came.
    """
    for kind, flags in args.items():
        if kind not in (*KINDS, DEFAULT):
            known = ", ".join((*KINDS, DEFAULT))
            raise ConfigError(f"`{TABLE}.{kind}` must be a kind of node that runs on Beam: {known}. Received: {kind}")
        for i, flag in enumerate(flags):
            where, parts = f"{TABLE}.{kind}[{i}]", _FLAG.fullmatch(flag)
            if parts is None:
                require(False, where, "be one flag, --name or --name=value", flag)
            elif parts[1] in _SECRET:
                must = "hold no secret, which all who read MLMD would see: give it to the workers' environment"
                require(False, where, must, f"--{parts[1]}=…")
