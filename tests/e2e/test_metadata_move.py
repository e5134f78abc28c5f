"""A pipeline whose MLMD is moved from MySQL to PostgreSQL goes on there: the lineage of its runs is the same, what was
made comes from the cache, and what is new gets new ids. The steps are run as Kubeflow runs them."""

import json

import pytest
from tfx.orchestration.metadata import Metadata

from benchmarks.database_servers import mariadb, postgresql
from components.common import mlmd
from components.common.mlmd_move import FROM_PASSWORD, FROM_USER
from pipeline.cli import main
from tests.conftest import skip_without
from tests.e2e import kubeflow_nodes as nodes
from tests.e2e.metadata_servers import SECRET
from tests.e2e.test_kubeflow_features import Bench, maker

pytestmark = pytest.mark.cluster


@pytest.fixture
def places(monkeypatch):
    """Where MLMD is on a MariaDB, and an empty database of a PostgreSQL."""
    user, password = SECRET["username"], SECRET["password"]
    for variable, value in ((mlmd.USER, user), (mlmd.PASSWORD, password), (FROM_USER, user), (FROM_PASSWORD, password)):
        monkeypatch.setenv(variable, value)
    try:
        with mariadb() as old, postgresql() as new:
            old.execute(f"CREATE USER {user} IDENTIFIED BY '{password}'")
            old.execute(f"GRANT ALL ON *.* TO {user}")
            new.execute(f"CREATE USER {user} PASSWORD '{password}'")
            for server in (old, new):
                server.fresh("mlmd")
            new.execute(f"ALTER DATABASE mlmd OWNER TO {user}")
            addresses = [server.url.split("@")[1].split("/")[0] for server in (old, new)]
            yield f"mysql://{addresses[0]}/mlmd", f"postgresql://{addresses[1]}/mlmd"
    except FileNotFoundError as missing:
        skip_without(f"Debian's package {missing}")


def told(place: str) -> list[str]:
    """All artifacts, executions, contexts and events that MLMD names."""
    with Metadata(mlmd.connection(place)) as handle:
        store = handle.store
        executions = store.get_executions()
        events = store.get_events_by_execution_ids([execution.id for execution in executions])
        return sorted(map(repr, [*store.get_artifacts(), *executions, *store.get_contexts(), *events]))


def test_what_ran_on_mysql_goes_on_on_postgresql(places, tmp_path, capsys):
    old, new = (Bench(folder=tmp_path, place=place) for place in places)

    def graph(bench: Bench):
        made = maker(bench)
        return bench.compile("moved", made, nodes.reader(file=bench.file, tally=made.outputs["tally"]))

    before = old.run(graph(old), value=7)
    assert old.states(before) == {"maker": "ran", "reader": "ran"} and len(old.traced) == 2
    lineage = told(old.place)
    with pytest.raises(SystemExit) as ended:
        main(["metadata", "move", old.place, new.place, "--json"])
    assert not ended.value.code and json.loads(capsys.readouterr().out)["rows"]["Execution"] == 2
    assert told(new.place) == lineage and len(lineage) > 6
    again = new.run(graph(new), value=7)
    assert new.states(again) == {"maker": "cached", "reader": "cached"} and len(new.traced) == 2
    other = new.run(graph(new), value=8)
    assert new.states(other) == {"maker": "ran", "reader": "ran"} and len(new.traced) == 4
    assert new.made(other, "LockgateTally")[0].id > max(a.id for a in new.made(before, "LockgateTally"))
    assert told(old.place) == lineage
