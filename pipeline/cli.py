"""`lockgate`, the command line. Exit codes: 0 pushed or already current; 2 config, data or a service; 3 refused by a
gate or the budget; 130 and 143 interrupted; 1 a fault of ours."""

import json
import math
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from components.common.errors import ConfigError, Interrupted, LockgateError
from pipeline import kubeflow, ledger, metadata
from pipeline.config import load
from pipeline.options import DEFAULT_ROOT, ClusterOption, ConfigOption, JsonOption, RootOption, SetOption
from pipeline.schedule import commands

app = typer.Typer(
    help="Train privately, compress, gate, ship.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(ledger.app, name="ledger")
app.add_typer(kubeflow.app, name="kubeflow")
app.add_typer(metadata.app, name="metadata")
for command in (commands.retrain, commands.schedule, commands.status, commands.clean):
    app.command()(command)


@app.command()
def run(
    config: ConfigOption = "default",
    set_: SetOption = None,
    root: RootOption = DEFAULT_ROOT,
    as_json: JsonOption = False,
) -> None:
    """Run the pipeline once."""
    settings = load(config, set_)
    from pipeline.console import Console
    from pipeline.run import execute

    with Console(quiet=as_json) as console:
        record = execute(settings, root.expanduser().resolve(), console)
        if as_json:
            print(json.dumps(summary(record), indent=2))
        else:
            console.close_run(record)
    raise typer.Exit(record["exit_code"])


@app.command()
def runs(root: RootOption = DEFAULT_ROOT, as_json: JsonOption = False) -> None:
    """List the runs under the root."""
    from pipeline.runs import records

    found = records(root.expanduser())
    if as_json:
        print(json.dumps([summary(r) for r in found], indent=2))
        return
    from pipeline.console import print_runs

    print_runs(found, root.expanduser())


@app.command()
def report(
    run: Annotated[str | None, typer.Argument(help="A run; the newest if not given.")] = None,
    root: RootOption = DEFAULT_ROOT,
    as_json: JsonOption = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write the page to this file.")] = None,
) -> None:
    """Show what a run did."""
    record = _find(root.expanduser(), run)
    if html:
        from pipeline.report.html import render
        from pipeline.run import write_page

        write_page(html, render(record))
    if as_json:
        print(json.dumps(summary(record), indent=2))
        return
    from pipeline.console import Console

    with Console() as console:
        console.close_run(record)


@app.command()
def rollback(
    config: ConfigOption = "default",
    set_: SetOption = None,
    root: RootOption = DEFAULT_ROOT,
    cluster: ClusterOption = False,
    as_json: JsonOption = False,
) -> None:
    """Serve the version before the current one again."""
    settings = load(config, set_)
    from pipeline.cluster import Runs, placed
    from pipeline.run import roll_back

    with placed(settings, root, cluster, Runs.NONE) as (place, places):
        done = roll_back(settings, place, places)
    if as_json:
        print(json.dumps(done, indent=2))
    else:
        print(f"Version {done['version']} serves again, version {done['withdrawn']} is withdrawn.\n{done['path']}")


@app.command()
def withdraw(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of records.")] = None,
    person: Annotated[list[str] | None, typer.Option("--person", help="Whose records. Repeatable.")] = None,
    config: ConfigOption = "default",
    set_: SetOption = None,
    root: RootOption = DEFAULT_ROOT,
    cluster: ClusterOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take records out of the data and its copies, and say which models had them in."""
    settings = load(config, set_)
    from pipeline.cluster import Runs, placed

    with placed(settings, root, cluster, Runs.ALL) as (place, places):
        from components.example_gen.withdrawal import Withdrawn
        from pipeline.withdrawal import withdraw as taken

        wanted = Withdrawn(ids=frozenset(ids or ()), persons=frozenset(person or ()))
        found = taken(settings, place, places, wanted)
        if as_json:
            print(json.dumps(found, indent=2, ensure_ascii=False))
            return
        from pipeline.console import print_withdrawn

        print_withdrawn(found)


@app.command(name="show-config")
def show_config(config: ConfigOption = "default", set_: SetOption = None) -> None:
    """Print the resolved configuration as JSON."""
    print(json.dumps(load(config, set_).as_dict(), indent=2, ensure_ascii=False))


def summary(record: dict[str, Any]) -> dict[str, Any]:
    """The documented `--json` object of a run record."""
    privacy, parent, pushed = record["privacy"] or {}, record["parent"], record["pushed"]
    keys = ("recipe", "accuracy", "bytes", "gzip_bytes", "latency_us", "verdict", "reasons")
    return {
        "run": record["run"],
        "config": record["config"],
        "state": record["state"],
        "exit_code": record["exit_code"],
        "seconds": record["seconds"],
        "error": record["error"],
        "epsilon": _finite(privacy.get("epsilon")),
        "delta": privacy.get("delta"),
        "parent": parent and {key: parent[key] for key in ("accuracy", "bytes", "gzip_bytes")},
        "variants": [{key: variant[key] for key in keys} for variant in record["variants"]],
        "pushed": pushed and {key: pushed[key] for key in ("recipe", "path", "sha256")},
        "nodes": record["nodes"],
        "report": record["report"],
    }


def _finite(epsilon: float | None) -> float | None:
    """JSON has no infinity: an ε without bound is null there."""
    return epsilon if epsilon is not None and math.isfinite(epsilon) else None


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line, `sys.argv`'s if none is given; a user's slip is one line on stderr, never a traceback."""
    try:
        sys.exit(app(arguments, standalone_mode=False))  # click returns the code of typer.Exit here
    except LockgateError as error:
        print(f"lockgate: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Interrupted as interrupted:
        sys.exit(interrupted.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except Exception as error:
        show = getattr(error, "format_message", None)  # click's usage errors
        if show is None:
            raise
        print(f"lockgate: {show()}", file=sys.stderr)
        sys.exit(2)


def _find(root: Path, run: str | None) -> dict[str, Any]:
    from pipeline.runs import record_at

    paths = sorted(root.glob("runs/*/run.json"))
    chosen = [p for p in paths if run is None or p.parent.name == run][-1:]
    if not chosen:
        raise ConfigError(f"a run must be one of those under {root} (see lockgate runs). Received: {run or 'none yet'}")
    return record_at(chosen[0])


if __name__ == "__main__":
    main()
