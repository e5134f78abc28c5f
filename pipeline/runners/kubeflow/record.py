"""The record of a run whose steps are containers, from what MLMD says of it."""

import datetime
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.runners.kubeflow.shared import Told
from pipeline.runs import blank
from pipeline.schedule.state import Claim


def begun_record(config: Config, run: str, told: Told, claim: Claim | None, otherwise: str) -> dict[str, Any]:
    """The record of a run as MLMD knows its end, not yet filled from the artifacts, nor saved; its folder is there.

    Args:
        config: of the pipeline. run: its id. told: what MLMD says of it. claim: the span that it has taken, if it asked
            what is due. otherwise: the error of a run that neither ended well nor said why.
    """
    span = claim.span if told.span is None and claim else told.span
    began = datetime.datetime.fromtimestamp(told.began, datetime.timezone.utc)
    record = blank(config, Path(config.kubeflow.root), run, span, began)
    record["seconds"], record["nodes"] = round(told.ended - told.began, 1), told.nodes
    if told.refused:
        record.update(state="refused", exit_code=3, error=told.refused, cause=told.cause)
    elif told.finished:
        record.update(state="pushed", exit_code=0, cause=None)
    elif told.error:
        record.update(error=told.error, cause=told.error_cause, exit_code=2)
    else:
        record.update(error=otherwise)
    Path(record["report"]).parent.mkdir(parents=True, exist_ok=True)
    return record
