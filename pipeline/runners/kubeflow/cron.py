"""From the cron that people write, five fields in a zone, to the one that Kubeflow Pipelines reads.

KFP 2.0 to 2.17 parses cron with robfig/cron v1.2.0, in the API server (`server/api_converter.go`) and in the controller
(`scheduledworkflow/util/cron_schedule.go`). That version
- wants seconds first, and takes five fields as second to month: "0 2 * * *" would run at two minutes past every hour;
- knows no `TZ=` or `CRON_TZ=`, which came with its v3: a cluster reads all schedules in one zone, its controller's
  CRON_SCHEDULE_TIMEZONE: `cronScheduleTimezone` of the ConfigMap `pipeline-install-config`, UTC by default;
- leaves out a time that the clocks skip in spring, and runs twice at one that they repeat in autumn;
- refuses 7 for Sunday, and finds the year 1 as the next time of a date that never comes.
"""

import datetime
import itertools

from components.common.errors import ConfigError
from pipeline.schedule.cron import fields, zone

_DAY = 24 * 60


def for_cluster(cron: str, timezone: str, cluster: str, now: datetime.datetime) -> str:
    """Gives the six fields with which KFP runs at the times that five fields mean in a zone.

    Args:
        cron: minute, hour, day of the month, month, day of the week: numbers, names, `*`, ranges, lists, steps. As in
            every cron, a day must fit both of the two fields of days, or either one if neither begins with `*`.
        timezone: IANA name of the zone that `cron` is meant in.
        cluster: IANA name of the zone in which the cluster reads cron.
        now: from when on the two zones are compared, with its zone.

    Raises:
        ConfigError: a field is wrong, no day fits, a zone is unknown, or the two zones are not equally far apart all
            year or so far that one line of cron cannot say it.
    """
    texts, (minutes, hours, _, _, weekdays) = cron.split(), fields(cron, "--cron")
    if not texts[4].startswith("*"):
        texts[4] = _listed(weekdays)
    offset = _offset(timezone, cluster, now)
    if offset:
        texts = _shifted(texts, minutes, hours, weekdays, offset)
    return " ".join(["0", *texts])


def _offset(timezone: str, cluster: str, now: datetime.datetime) -> int:
    """Minutes to add to a time in one zone to have it in the other, looked at twice a day over three years."""
    here, there = zone(timezone, "--timezone"), zone(cluster, "--cluster-timezone")
    moments = (now + datetime.timedelta(hours=12 * half) for half in range(3 * 2 * 366))
    offsets = {m.astimezone(there).utcoffset() - m.astimezone(here).utcoffset() for m in moments}
    if len(offsets) > 1:
        raise ConfigError(
            "`--timezone` must be as far from the cluster's zone in summer as in winter, for Kubeflow Pipelines reads "
            f"every cron in that one zone. Received: {timezone}, with {cluster} for the cluster. Set "
            f"`cronScheduleTimezone` of its ConfigMap pipeline-install-config to {timezone}, restart "
            f"ml-pipeline-scheduledworkflow, and say so with --cluster-timezone {timezone}"
        )
    return int(offsets.pop().total_seconds()) // 60


def _shifted(texts: list[str], minutes: set[int], hours: set[int], weekdays: set[int], offset: int) -> list[str]:
    """The fields some minutes later, where minutes, hours and days can still be said one by one."""
    moved = {60 * h + m + offset for h, m in itertools.product(hours, minutes)}
    of_day = {m % _DAY for m in moved}
    turns = {m // _DAY for m in moved}
    new_hours, new_minutes = {m // 60 for m in of_day}, {m % 60 for m in of_day}
    every_day = texts[2:] == ["*", "*", "*"]
    same_day = turns == {0} or (len(turns) == 1 and texts[2:4] == ["*", "*"])
    if len(of_day) != len(new_hours) * len(new_minutes) or not (every_day or same_day):
        raise ConfigError(
            f"`--cron` must be such that one line of cron can say it in the cluster's zone, {abs(offset)} minutes "
            f"{'later' if offset > 0 else 'earlier'}. Received: --cron {' '.join(texts)!r}. Make several schedules, "
            "or set the cluster's zone"
        )
    if not every_day and turns != {0}:
        texts[4] = _listed({(day + turn) % 7 for day in weekdays for turn in turns})
    return [_listed(new_minutes), _listed(new_hours), *texts[2:]]


def _listed(values: set[int]) -> str:
    return ",".join(map(str, sorted(values)))
