"""Telling whoever must decide: a command, a webhook, once."""

import json
import os
import shlex
import subprocess
import threading
import urllib.request
from typing import Any

from pipeline.schedule.config import ScheduleConfig


def tell(config: ScheduleConfig, message: dict[str, Any]) -> list[str]:
    """Gives a message to the command and to the webhook that the configuration names.

    Returns:
        A sentence for each that did not take it; it is given up after `tell_seconds`.
    """
    body = json.dumps(message, ensure_ascii=False).encode()
    problems = []
    if config.command:
        problems += _run(config.command, body, config.tell_seconds)
    if config.webhook:
        problems += _post(os.path.expandvars(config.webhook), body, config.tell_seconds)
    return problems


def _run(command: str, body: bytes, seconds: float) -> list[str]:
    try:
        done = subprocess.run(
            shlex.split(command), input=body, timeout=seconds, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return [f"`schedule.command` must end within {seconds:g} s. It did not, and was killed"]
    except OSError as error:
        return [f"`schedule.command` must be a program that can be run. Received: {command} ({error.strerror})"]
    return [f"`schedule.command` must end with 0. It ended with {done.returncode}"] if done.returncode else []


def _post(url: str, body: bytes, seconds: float) -> list[str]:
    """Posts the body; a server that takes it and sends its answer drop by drop is given up as well."""
    problems = [f"`schedule.webhook` must answer within {seconds:g} s. It did not"]

    def post() -> None:
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=2 * seconds) as answer:
                answer.read(1)
            problems.clear()
        except Exception as error:  # its words may quote the address, and that a token
            code = getattr(error, "code", None)
            problems[:] = [f"`schedule.webhook` must take the message. Received: {code or type(error).__name__}"]

    worker = threading.Thread(target=post, daemon=True)
    worker.start()
    worker.join(seconds)
    return list(problems)
