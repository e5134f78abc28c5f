"""`lockgate metadata`: moving what MLMD knows of all runs to another database."""

import json
from typing import Annotated

import typer

from pipeline.options import JsonOption

app = typer.Typer(help="The lineage of all runs, as MLMD keeps it.", no_args_is_help=True)


@app.command()
def move(
    source: Annotated[str, typer.Argument(metavar="FROM", help="A sqlite file, postgresql://… or mysql://….")],
    target: Annotated[str, typer.Argument(metavar="TO", help="An empty postgresql://host:port/database or mysql://….")],
    as_json: JsonOption = False,
) -> None:
    """Copy an MLMD into an empty database, while nothing runs on it.

    User and password of FROM are in LOCKGATE_METADATA_FROM_USER and LOCKGATE_METADATA_FROM_PASSWORD, those of TO in
    LOCKGATE_METADATA_USER and LOCKGATE_METADATA_PASSWORD.
    """
    from pipeline.guards import quiet_imports

    quiet_imports()
    from components.common.mlmd_move import move as copied

    rows = copied(source, target)
    if as_json:
        print(json.dumps({"rows": rows, "from": source, "to": target}, indent=2))
        return
    for name, count in rows.items():
        print(f"{name:<18}{count:>10,}")
    print(f"All {sum(rows.values()):,} rows of {source} are in {target}.")
