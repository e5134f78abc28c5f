"""The `[schedule]` table: when to retrain, how often to try, and who is told; the `[retention]` table: what is kept."""

import shlex
from dataclasses import dataclass

from components.common.settings import require, require_positive
from pipeline.schedule.cron import Timetable

DAMAGED = ("wait", "stop")
OUTCOMES = ("failed", "refused", "damaged")


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """When a pipeline is retrained on what arrived, and what happens if that fails.

    cron: minute, hour, day of the month, month, day of the week. time_zone: IANA name of the zone it is meant in.
    damaged: whether a span that is damaged waits while those after it go on (`wait`), or holds them up (`stop`).
    attempts: how often a run that failed is tried, backoff_seconds after the first try, twice that after the second,
    and so on.
    tell: which outcomes are told, once each: `failed` (the configuration, the data, a service, a fault of ours),
    `refused` (a gate, the budget, the ledger, drift) and `damaged` (a span). command: what is run to tell it, with a
    JSON object on its standard input. webhook: what the object is posted to; `$NAME` in it is taken from the
    environment, so that a token need not stand here. tell_seconds: after which either is given up.
    """

    cron: str = "0 2 * * *"
    time_zone: str = "UTC"
    damaged: str = "wait"
    attempts: int = 3
    backoff_seconds: float = 60.0
    tell: tuple[str, ...] = OUTCOMES
    command: str = ""
    webhook: str = ""
    tell_seconds: float = 30.0

    def __post_init__(self):
        Timetable(self.cron, self.time_zone)
        require(self.damaged in DAMAGED, "damaged", f"be one of {', '.join(DAMAGED)}", self.damaged)
        require(1 <= self.attempts <= 100, "attempts", "be in [1, 100]", self.attempts)
        require_positive("backoff_seconds", self.backoff_seconds)
        require_positive("tell_seconds", self.tell_seconds)
        unknown = next((name for name in self.tell if name not in OUTCOMES), None)
        require(unknown is None, "tell", f"name outcomes ({', '.join(OUTCOMES)})", unknown)
        addressed = not self.webhook or self.webhook.startswith(("http://", "https://", "$"))
        require(addressed, "webhook", "be a URL of http or https", "…")
        secret = "@" in self.webhook.partition("://")[2].split("/")[0]
        require(not secret, "webhook", "hold no user or password: name a variable of the environment, $NAME", "…@…")
        try:
            shlex.split(self.command)
        except ValueError as error:
            require(False, "command", f"be a command line ({error})", self.command)


@dataclass(frozen=True, kw_only=True)
class RetentionConfig:
    """What is kept. runs: the newest runs, whole. versions: the newest models that were pushed, with all that they were
    made from but copies of images; the next warm start goes on from the newest of them."""

    runs: int = 3
    versions: int = 2

    def __post_init__(self):
        for name in ("runs", "versions"):
            require(getattr(self, name) >= 1, name, "be at least 1", getattr(self, name))
