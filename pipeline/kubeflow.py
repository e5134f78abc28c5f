"""`lockgate kubeflow`: runs and schedules on a Kubeflow Pipelines server."""

import dataclasses
import datetime
import enum
import functools
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.config import load
from pipeline.guards import quiet_imports
from pipeline.options import ConfigOption, JsonOption, SetOption

app = typer.Typer(help="Runs and schedules on Kubeflow Pipelines.", no_args_is_help=True)

FileArgument = Annotated[Path, typer.Argument(help="A compiled pipeline, .yaml.")]
HostOption = Annotated[
    str, typer.Option("--host", envvar="LOCKGATE_KFP_HOST", help="Address of Kubeflow Pipelines, http(s)://…")
]
NamespaceOption = Annotated[
    str | None,
    typer.Option("--namespace", envvar="LOCKGATE_KFP_NAMESPACE", help="Your profile's, on a multi-user Kubeflow."),
]
ParamOption = Annotated[list[str] | None, typer.Option("--param", help="A parameter: name=value. Repeatable.")]
ExperimentOption = Annotated[str, typer.Option("--experiment", help="The experiment; made if it is new.")]
NameOption = Annotated[str | None, typer.Option("--name", help="Default: the pipeline's.")]
ScheduleArgument = Annotated[str, typer.Argument(help="A schedule's name or id.")]
DEFAULT_EXPERIMENT = "lockgate"
_PUSHED_NOTHING = "ended well and pushed nothing"
_WIDEST = 1000  # columns of a terminal


class Target(str, enum.Enum):
    """Who runs a compiled graph: open-source Kubeflow Pipelines, or Google's Vertex AI."""

    KUBEFLOW = "kubeflow"
    VERTEX = "vertex"


@app.command(name="compile")
def compile_(
    output: Annotated[Path, typer.Option("--output", help="The file to write, .yaml; .json for Vertex.")],
    config: ConfigOption = "default",
    set_: SetOption = None,
    target: Annotated[Target, typer.Option("--target", help="Who runs it.")] = Target.KUBEFLOW,
) -> None:
    """Write the graph as Kubeflow Pipelines or Vertex AI takes it; tables kubeflow and vertex say where all is."""
    settings = load(config, set_)
    quiet_imports()
    if target is Target.VERTEX:
        from pipeline.runners.vertex.compile import compile_config as compile_for_vertex

        ids, left = compile_for_vertex(settings, output)
        print(f"Wrote {output}: {len(ids)} of {len(ids) + len(left)} nodes of image {settings.kubeflow.image}.")
        return
    from pipeline.runners.kubeflow.compile import compile_config
    from pipeline.runners.kubeflow.reach import check_paths

    if Path(config).is_file():
        check_paths(settings, Path(config))
    told = compile_config(settings, output)
    print(
        f"Wrote {output}: {told.steps} nodes of image {settings.kubeflow.image}, graph {told.graph[:12]}. "
        f"A run takes {told.fullness:.0%} of what a cluster can keep of one."
    )


@app.command()
def run(
    file: FileArgument,
    host: HostOption,
    namespace: NamespaceOption = None,
    param: ParamOption = None,
    experiment: ExperimentOption = DEFAULT_EXPERIMENT,
    name: NameOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end and exit as `lockgate run` would.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Start a run now. The token, if one is needed, is in LOCKGATE_KFP_TOKEN."""
    from pipeline.runners.kubeflow.client import connect
    from pipeline.runners.kubeflow.package import read

    package = read(file)
    arguments = package.arguments(param or [])
    server = connect(host, namespace)
    run_id = server.submit(package, arguments, experiment, name or f"{package.name} {_now()}")
    if not wait:
        address = server.run_address(run_id)
        _told(as_json, {"run": run_id, "address": address}, f"Run {run_id} is submitted.\n{address}")
        return
    if not as_json:
        print(f"Run {run_id} is submitted.\n{server.run_address(run_id)}", flush=True)
    _wait(server, run_id, None, as_json)


@app.command()
def schedule(
    file: FileArgument,
    host: HostOption,
    cron: Annotated[
        str | None,
        typer.Option("--cron", help="Five fields, such as '0 4 * * *'. Default: the configuration's, with its zone."),
    ] = None,
    timezone: Annotated[str, typer.Option("--timezone", help="Zone of --cron, such as Europe/Berlin.")] = "UTC",
    cluster_timezone: Annotated[
        str,
        typer.Option(
            "--cluster-timezone",
            envvar="LOCKGATE_KFP_TIMEZONE",
            help="Zone in which the cluster reads cron: cronScheduleTimezone in its pipeline-install-config.",
        ),
    ] = "UTC",
    catch_up: Annotated[
        bool | None,
        typer.Option(
            "--catch-up/--no-catch-up",
            help="Run for every missed time, or only for the newest. Default: for every one, if runs take what is due.",
        ),
    ] = None,
    namespace: NamespaceOption = None,
    param: ParamOption = None,
    experiment: ExperimentOption = DEFAULT_EXPERIMENT,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a run again and again, one at a time; each takes the oldest span that is due, if --param names no other."""
    from pipeline.runners.kubeflow.client import connect
    from pipeline.runners.kubeflow.cron import for_cluster
    from pipeline.runners.kubeflow.package import read
    from pipeline.spans import DUE, SPAN

    package = read(file)
    arguments = package.arguments(param or [])
    if cron is None:
        cron, timezone = package.timetable()
    if SPAN in package.parameters:
        arguments.setdefault(SPAN, DUE)
    if catch_up is None:
        catch_up = arguments.get(SPAN) == DUE
    six = for_cluster(cron, timezone, cluster_timezone, datetime.datetime.now(datetime.timezone.utc))
    server, name, said = connect(host, namespace), name or package.name, f"{cron} {timezone}"
    made = server.schedule(package, arguments, experiment, name, six, said, catch_up)
    address = server.schedule_address(made)
    found = {"schedule": made, "name": name, "cron": six, "address": address}
    _told(as_json, found, f"Schedule {name} ({made}) runs at {said}.\n{address}")


@app.command()
def runs(
    host: HostOption,
    namespace: NamespaceOption = None,
    last: Annotated[int, typer.Option("--last", min=1, max=200, help="How many.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List the newest runs."""
    from pipeline.runners.kubeflow.client import at, connect

    rows = [
        {
            "run": each.run_id,
            "name": each.display_name,
            "state": each.state,
            "created": at(each.created_at),
            "schedule": each.recurring_run_id or None,
        }
        for each in connect(host, namespace).runs(last)
    ]
    _list(as_json, rows, "No runs yet. Start one with: lockgate kubeflow run")


@app.command()
def schedules(host: HostOption, namespace: NamespaceOption = None, as_json: JsonOption = False) -> None:
    """List the schedules."""
    from pipeline.runners.kubeflow.client import connect

    found = [dataclasses.asdict(each) for each in connect(host, namespace).schedules()]
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    rows = [
        {
            "name": each["name"],
            "runs at": each["description"] or each["cron"],
            "state": "on" if each["enabled"] else "paused",
            "catch-up": "yes" if each["catch_up"] else "no",
            "schedule": each["id"],
        }
        for each in found
    ]
    _list(False, rows, "No schedules yet. Make one with: lockgate kubeflow schedule")


@app.command()
def pause(schedule: ScheduleArgument, host: HostOption, namespace: NamespaceOption = None) -> None:
    """Start no more runs of a schedule until it is resumed."""
    server, found = _find(schedule, host, namespace)
    server.pause(found)
    print(f"Schedule {found.name} is paused.")


@app.command()
def resume(schedule: ScheduleArgument, host: HostOption, namespace: NamespaceOption = None) -> None:
    """Start runs of a paused schedule again."""
    server, found = _find(schedule, host, namespace)
    server.resume(found)
    print(f"Schedule {found.name} is on.")


@app.command()
def delete(schedule: ScheduleArgument, host: HostOption, namespace: NamespaceOption = None) -> None:
    """Delete a schedule; its runs stay."""
    server, found = _find(schedule, host, namespace)
    server.delete(found)
    print(f"Schedule {found.name} is deleted.")


@app.command()
def wait(
    run_id: Annotated[str, typer.Argument(help="A run's id.")],
    host: HostOption,
    namespace: NamespaceOption = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0, help="Seconds; else as long as it takes.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Wait for a run's end. Exit codes: 0 pushed or nothing due, 3 nothing pushed, 1 or 2 failed, 130 cancelled."""
    from pipeline.runners.kubeflow.client import connect

    _wait(connect(host, namespace), run_id, timeout, as_json)


@app.command()
def terminate(
    run_id: Annotated[str, typer.Argument(help="A run's id.")], host: HostOption, namespace: NamespaceOption = None
) -> None:
    """End a run that is under way; the next firing takes its span once its pods are gone."""
    from pipeline.runners.kubeflow.client import connect

    connect(host, namespace).terminate(run_id)
    print(f"Run {run_id} is being terminated.")


def _wait(server: Any, run_id: str, timeout: float | None, as_json: bool) -> None:
    from pipeline.runners.kubeflow.waiting import wait as wait_for

    say = (lambda line: None) if as_json else functools.partial(print, flush=True)
    found = wait_for(server, run_id, say, timeout)
    sentence = {
        "SUCCEEDED": "pushed" if found.pushed else "found nothing due" if found.idle else _PUSHED_NOTHING,
        "FAILED": f"failed in {', '.join(found.failed)}" if found.failed else "failed",
        "CANCELED": "was cancelled",
    }.get(found.state, f"ended as {found.state}")
    address = server.run_address(run_id)
    _told(as_json, {"run": run_id, **dataclasses.asdict(found), "address": address}, f"The run {sentence}.\n{address}")
    raise typer.Exit(found.exit_code)


def _find(schedule: str, host: str, namespace: str | None) -> tuple[Any, Any]:
    from pipeline.runners.kubeflow.client import connect

    server = connect(host, namespace)
    return server, server.find(schedule)


def _now() -> str:
    return datetime.datetime.now().strftime("%Y-%m-%d %H-%M-%S")


def _told(as_json: bool, found: dict[str, Any], sentence: str) -> None:
    print(json.dumps(found, indent=2, ensure_ascii=False) if as_json else sentence)


def _list(as_json: bool, rows: list[dict[str, Any]], none: str) -> None:
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.measure import measure_renderables
    from rich.table import Table

    out = Console(highlight=False)
    if not rows:
        out.print(none)
        return
    table = Table(box=None, pad_edge=False)
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*(escape(str(value or "")) for value in row.values()))
    wide = out.options.update(width=_WIDEST)  # an id that is cut off to fit a terminal is of no use
    out.width = max(out.width, measure_renderables(out, wide, [table]).maximum)
    out.print(table, soft_wrap=True)
