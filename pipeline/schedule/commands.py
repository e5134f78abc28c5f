"""`lockgate retrain`, `lockgate schedule`, `lockgate status` and `lockgate clean`."""

import datetime
import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from pipeline.config import load
from pipeline.options import DEFAULT_ROOT, ClusterOption, ConfigOption, JsonOption, RootOption, SetOption


def retrain(
    config: ConfigOption = "default",
    set_: SetOption = None,
    root: RootOption = DEFAULT_ROOT,
    as_json: JsonOption = False,
) -> None:
    """Run once for every span that has arrived since the last time, in order. For cron and systemd."""
    settings, place = load(config, set_), root.expanduser().resolve()
    from pipeline.console import Console
    from pipeline.schedule.retrain import retrain as retrained

    with Console(quiet=as_json) as console:
        firing = retrained(settings, place, console)
        if as_json:
            print(json.dumps(firing.as_json(), indent=2, ensure_ascii=False))
        else:
            console.close_firing(firing)
    for problem in firing.problems:
        print(f"lockgate: {problem}", file=sys.stderr)
    _write_page(settings, place)
    raise typer.Exit(firing.exit_code)


def schedule(config: ConfigOption = "default", set_: SetOption = None, root: RootOption = DEFAULT_ROOT) -> None:
    """Retrain whenever the configuration's table schedule says so, in the foreground, until interrupted."""
    settings, place = load(config, set_), root.expanduser().resolve()
    from pipeline.guards import Signals
    from pipeline.schedule.cron import Timetable
    from pipeline.schedule.loop import Loop, run_as_process
    from pipeline.schedule.state import Memory

    overrides = [part for text in set_ or () for part in ("--set", text)]
    command = [sys.executable, "-m", "pipeline.cli", "retrain", "--config", config, *overrides, "--root", str(place)]
    timetable = Timetable(settings.schedule.cron, settings.schedule.time_zone)
    with Signals().held() as signals:

        def announce(coming: datetime.datetime) -> None:
            print(f"Next retraining: {coming:%Y-%m-%d %H:%M %Z}", flush=True)
            _write_page(settings, place)

        def pause(seconds: float) -> None:
            with signals.interrupting():
                time.sleep(seconds)

        loop = Loop(timetable, Memory(place, settings.name), _now, pause, announce)
        loop.run(lambda: run_as_process(command, signals))


def status(
    config: ConfigOption = "default",
    set_: SetOption = None,
    root: RootOption = DEFAULT_ROOT,
    as_json: JsonOption = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write the page to this file.")] = None,
) -> None:
    """Show what serves, what comes next, and why the last runs did or did not push."""
    settings, place = load(config, set_), root.expanduser().resolve()
    from pipeline.report.html import page
    from pipeline.run import write_page
    from pipeline.schedule.status import status as found

    stands = found(settings, place, _now())
    if html:
        write_page(html, page("status.html.j2", s=stands, folder=html.resolve().parent))
    if as_json:
        print(json.dumps(stands, indent=2, ensure_ascii=False))
        return
    from pipeline.console import print_status

    print_status(stands)


def clean(
    config: ConfigOption = "default",
    set_: SetOption = None,
    root: RootOption = DEFAULT_ROOT,
    cluster: ClusterOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove what the configuration's table retention lets go; MLMD's records stay."""
    settings = load(config, set_)
    from pipeline.cluster import Runs, placed

    with placed(settings, root, cluster, Runs.NONE if dry_run else Runs.OWN) as (place, places):
        from pipeline.schedule.retention import clean as cleaned

        found = cleaned(settings, place, places, dry_run)
        if as_json:
            print(json.dumps({"dry_run": dry_run, "bytes": found.bytes, **vars(found)}, indent=2))
            return
        from pipeline.console import print_cleaned

        print_cleaned(found, dry_run)


def _write_page(settings, root: Path) -> None:
    """Brings the page under the root up to date."""
    from pipeline.schedule.status import write_status

    write_status(settings, root, _now())


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
