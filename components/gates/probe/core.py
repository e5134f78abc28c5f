"""Trying files in a process of their own, and timing them beside their parent's."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from components.common.tflite import TFLiteModel
from components.shipped.latency import Latency, latency

_CHILD = Path(__file__).with_name("child.py")
_DIED = ("kills", "ends", "was never tried")


def probed(files: dict[str, Path], shape: tuple[int, ...], classes: int) -> dict[str, dict[str, Any]]:
    """What each file does in a fresh process that imports TensorFlow and nothing of ours.

    Returns:
        `complaints`, a sentence each, `peak_bytes` that the interpreter took for it, None where it did not get so far,
        and `survived`, whether a process that loads it lives on.
    """
    asked = {"files": {name: str(path) for name, path in files.items()}, "shape": list(shape), "classes": classes}
    done = subprocess.run(
        [sys.executable, "-I", str(_CHILD)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        cwd="/",
        timeout=120 + 60 * len(files),
    )
    logging.info("probe: %s", done.stderr)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    found = {line.pop("name"): line for line in lines}
    silent = {"complaints": ["was never tried: the process that serves did not get to it"], "peak_bytes": None}
    answers = {name: found.get(name, silent) for name in files}
    return {name: {**said, "survived": not _died(said["complaints"])} for name, said in answers.items()}


def _died(complaints: list[str]) -> bool:
    return any(complaint.startswith(_DIED) for complaint in complaints)


def timed(parent: Path, variant: Path, shape: tuple[int, ...]) -> Latency | None:
    """Latency beside the parent's float file, on a black image; None where one of them does not run."""
    try:
        return latency(TFLiteModel.open(parent), TFLiteModel.open(variant), np.zeros(shape, np.float32))
    except Exception:
        logging.exception("%s cannot be timed", variant)
        return None
