"""An MLMD is moved whole, between real servers, or not at all."""

import itertools
import shutil
import sqlite3

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from components.common import mlmd, mlmd_move
from components.common.errors import ConfigError, ServiceError
from components.common.mlmd import opened
from components.common.mlmd_move import FROM_PASSWORD, FROM_USER, TABLES, move

SOURCE, TARGET = ("reader", "old-Secret"), ("writer", "new's \\secret")
TEXTS = ("plain", "it's", "ü 漢 😀", "C:\\new\\x", "line\nline", "", "\uf05cb", "x" * 40_000)
_names = (f"moved{i}" for i in itertools.count())


@pytest.fixture(scope="module")
def servers(postgresql_server, mariadb_server):
    """Both, each with who reads and who writes."""
    for user, password in (SOURCE, TARGET):
        quoted = password.replace("'", "''")
        postgresql_server.execute(f"CREATE USER {user} PASSWORD '{quoted}'")
        escaped = quoted.replace("\\", "\\\\")
        mariadb_server.execute(f"CREATE USER {user} IDENTIFIED BY '{escaped}'")
        mariadb_server.execute(f"GRANT ALL ON *.* TO {user}")
    return {"postgresql": postgresql_server, "mysql": mariadb_server}


@pytest.fixture(autouse=True)
def users(monkeypatch):
    for variable, value in zip((FROM_USER, FROM_PASSWORD, mlmd.USER, mlmd.PASSWORD), (*SOURCE, *TARGET), strict=True):
        monkeypatch.setenv(variable, value)


@pytest.fixture
def empty(servers):
    """Makes an empty database of a user on a kind of server."""

    def make(kind: str, user: str = TARGET[0]) -> str:
        name, server = next(_names), servers[kind]
        server.fresh(name)
        if kind == "postgresql":
            server.execute(f"ALTER DATABASE {name} OWNER TO {user}")
        return f"{kind}://{server.url.split('@')[1].split('/')[0]}/{name}"

    return make


def filled(place: str) -> None:
    """An MLMD with something of each kind, with ids that have gaps."""
    kinds = {"i": pb.INT, "d": pb.DOUBLE, "s": pb.STRING, "t": pb.STRUCT, "p": pb.PROTO, "b": pb.BOOLEAN}
    with opened(place) as store:
        artifact = store.put_artifact_type(
            pb.ArtifactType(name="A", version="2", description="of tests", external_id="ta", properties=kinds)
        )
        store.put_artifact_type(pb.ArtifactType(name="Sub", base_type=pb.ArtifactType.MODEL))
        execution = store.put_execution_type(pb.ExecutionType(name="E", properties=kinds))
        context = store.put_context_type(pb.ContextType(name="C", properties=kinds))
        artifacts, executions, contexts = [], [], []
        for i, text in enumerate(TEXTS):
            common = {"name": f"{i} {text[:100]}", "external_id": f"e{i}"}
            artifacts.append(pb.Artifact(type_id=artifact, uri=text[:500], state=pb.Artifact.LIVE, **common))
            executions.append(pb.Execution(type_id=execution, last_known_state=pb.Execution.CACHED, **common))
            contexts.append(pb.Context(type_id=context, **common))
            for each in (artifacts[-1], executions[-1], contexts[-1]):
                for properties in (each.properties, each.custom_properties):
                    properties["i"].int_value, properties["d"].double_value = -(2**31) + i, 0.25 * i
                    properties["s"].string_value, properties["b"].bool_value = text, i % 2 == 0
                    properties["t"].struct_value.update({text[:9]: [text, None, 1.5]})
                    properties["p"].proto_value.Pack(pb.Artifact(uri=text))
        ids = store.put_artifacts(artifacts), store.put_executions(executions), store.put_contexts(contexts)
        step = pb.Event.Path.Step
        path = pb.Event.Path(steps=[step(key="z\\"), step(index=3), step(key="a")])
        store.put_events(
            [
                pb.Event(
                    artifact_id=a, execution_id=e, type=pb.Event.OUTPUT, path=path, milliseconds_since_epoch=77 + a
                )
                for a, e in zip(ids[0], ids[1], strict=True)
            ]
        )
        attributions = [pb.Attribution(artifact_id=a, context_id=c) for a, c in zip(ids[0], ids[2], strict=True)]
        associations = [pb.Association(execution_id=e, context_id=c) for e, c in zip(ids[1], ids[2], strict=True)]
        store.put_attributions_and_associations(attributions, associations)
        store.put_parent_contexts([pb.ParentContext(parent_id=ids[2][0], child_id=c) for c in ids[2][1:]])


def told(place: str) -> dict[str, list[bytes]]:
    """All that MLMD says of a database through its own client."""
    with opened(place) as store:
        artifacts, executions, contexts = store.get_artifacts(), store.get_executions(), store.get_contexts()
        answers = {
            "types": [*store.get_artifact_types(), *store.get_execution_types(), *store.get_context_types()],
            "nodes": [*artifacts, *executions, *contexts],
            "events": store.get_events_by_execution_ids([e.id for e in executions]),
            "parents": [p for c in contexts for p in store.get_parent_contexts_by_context(c.id)],
        }
        members = [
            (c.id, [a.id for a in store.get_artifacts_by_context(c.id)], [e.id for e in of_context(store, c.id)])
            for c in contexts
        ]
    said = {name: sorted(repr(each) for each in found) for name, found in answers.items()}
    return said | {"members": sorted(map(repr, members))}


def of_context(store, context: int) -> list[pb.Execution]:
    return store.get_executions_by_context(context)


@pytest.fixture(params=["sqlite", "mysql", "postgresql"])
def source(request, empty, tmp_path, monkeypatch):
    """A filled MLMD on each kind of database."""
    place = str(tmp_path / "metadata.sqlite") if request.param == "sqlite" else empty(request.param, SOURCE[0])
    with monkeypatch.context() as patch:
        patch.setenv(mlmd.USER, SOURCE[0])
        patch.setenv(mlmd.PASSWORD, SOURCE[1])
        filled(place)
        answers = told(place)
    return place, answers


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_all_that_it_says_it_says_there_and_goes_on_with_new_ids(source, empty, kind):
    place, answers = source
    target = empty(kind)
    rows = move(place, target)
    assert tuple(rows) == TABLES and min(rows.values()) > 0 and rows["Artifact"] == len(TEXTS)
    assert told(target) == answers and len(answers["nodes"]) == 3 * len(TEXTS)
    with opened(target) as store:
        newest = max(a.id for a in store.get_artifacts())
        kind_id = store.put_artifact_type(pb.ArtifactType(name="new"))
        (new,) = store.put_artifacts([pb.Artifact(type_id=kind_id, name="new")])
        assert new == newest + 1 and store.get_artifact_type("A", "2").properties["p"] == pb.PROTO


def test_only_an_empty_database_is_filled_and_nothing_is_changed_in_another(source, empty):
    target = empty("postgresql")
    move(source[0], target)
    before = told(target)
    with pytest.raises(
        ConfigError, match="^what it is moved to must be empty. Received: .*, which has rows in Artifact"
    ):
        move(source[0], target)
    assert told(target) == before == source[1]


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_a_database_is_not_moved_to_itself(empty, monkeypatch, kind):
    place = empty(kind)
    monkeypatch.setenv(FROM_USER, TARGET[0]), monkeypatch.setenv(FROM_PASSWORD, TARGET[1])
    with opened(place):
        pass
    with pytest.raises(ConfigError, match="must be another database"):
        move(place, place)


def test_a_database_of_two_names_is_not_waited_for(empty, monkeypatch):
    place = empty("postgresql")
    monkeypatch.setenv(FROM_USER, TARGET[0]), monkeypatch.setenv(FROM_PASSWORD, TARGET[1])
    with opened(place):
        pass
    monkeypatch.setattr(mlmd_move, "_PATIENCE_MILLISECONDS", 500)
    with pytest.raises(ServiceError, match="must be readable and writable. Received: .*lock timeout"):
        move(place.replace("127.0.0.1", "localhost"), place)


def test_a_move_that_breaks_leaves_nothing(empty, tmp_path, monkeypatch):
    filled(str(tmp_path / "metadata.sqlite"))
    copy = mlmd_move._copy

    def breaks(here, there, name):
        copy(here, there, name)
        if name == "Attribution":
            raise KeyboardInterrupt

    for kind in ("postgresql", "mysql"):
        target = empty(kind)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(mlmd_move, "_copy", breaks)
            move(str(tmp_path / "metadata.sqlite"), target)
        assert sum(len(found) for name, found in told(target).items() if name != "types") == 0
        assert move(str(tmp_path / "metadata.sqlite"), target)["Event"] == len(TEXTS)


def test_a_row_that_gets_lost_is_found(empty, tmp_path, monkeypatch):
    filled(str(tmp_path / "metadata.sqlite"))
    target, copy = empty("postgresql"), mlmd_move._copy

    def loses(here, there, name):
        copy(here, there, name)
        if name == "Event":
            there.connection.exec_driver_sql("DELETE FROM event WHERE id = 2")

    monkeypatch.setattr(mlmd_move, "_copy", loses)
    with pytest.raises(ServiceError, match="^every row must arrive. Received: fewer or more of Event$"):
        move(str(tmp_path / "metadata.sqlite"), target)
    assert told(target)["nodes"] == []


def test_a_source_that_breaks_is_named_and_not_the_target(empty, tmp_path):
    place = str(tmp_path / "metadata.sqlite")
    filled(place)
    content = bytearray((tmp_path / "metadata.sqlite").read_bytes())
    with sqlite3.connect(place) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'Event'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    content[(page - 1) * size : page * size] = b"\xff" * size
    (tmp_path / "metadata.sqlite").write_bytes(content)
    target = empty("postgresql")
    with pytest.raises(ServiceError, match=f"^MLMD at {place} must be readable and writable. Received: .*malformed"):
        move(place, target)
    assert told(target)["nodes"] == []


def test_a_number_that_mysql_does_not_hold_is_one_line_and_leaves_nothing(empty, tmp_path):
    place = str(tmp_path / "metadata.sqlite")
    with opened(place) as store:
        made = pb.Context(type_id=store.put_context_type(pb.ContextType(name="C")), name="n")
        made.custom_properties["large"].int_value = 2**40
        store.put_contexts([made])
    target = empty("mysql")
    with pytest.raises(
        ServiceError, match="^MLMD at mysql://.* must be readable and writable. Received: .*int_value"
    ) as told_:
        move(place, target)
    assert "\n" not in str(told_.value) and told(target)["nodes"] == []
    assert move(place, empty("postgresql"))["ContextProperty"] == 1


def test_another_version_of_the_schema_is_refused(empty, tmp_path):
    place = str(tmp_path / "metadata.sqlite")
    filled(place)
    with sqlite3.connect(place) as connection:
        connection.execute("UPDATE MLMDEnv SET schema_version = 9")
    target = empty("postgresql")
    with pytest.raises(
        ConfigError, match="same version of MLMD.* Received: 9 in .*metadata.sqlite, 10 in postgresql://"
    ):
        move(place, target)
    assert told(target)["nodes"] == []


def test_a_type_that_is_there_twice_is_moved_as_it_is(empty, tmp_path):
    """As two steps leave it that began at once on a MySQL."""
    place = str(tmp_path / "metadata.sqlite")
    filled(place)
    with sqlite3.connect(place) as connection:
        connection.execute("INSERT INTO Type (name, type_kind) VALUES ('E', 0)")
    assert move(place, empty("postgresql"))["Type"] == 14


def test_what_is_no_mlmd_is_refused(empty, tmp_path, monkeypatch):
    target = empty("postgresql")
    (tmp_path / "garbage").write_bytes(b"this is no database " * 100)
    sqlite3.connect(tmp_path / "other").close()
    shutil.copy(tmp_path / "other", tmp_path / "ledger")
    for place, says in (
        (str(tmp_path / "nowhere"), "must be a file that is there, or begin with"),
        (str(tmp_path / "other"), "must be an MLMD. Received: one without the table Type"),
        ("grpc://here:8080", "what is moved must be a file or one of"),
        ("mysql://reader:old-Secret@h/d", "what is moved must hold no password, .*LOCKGATE_METADATA_FROM_PASSWORD"),
    ):
        with pytest.raises(ConfigError, match=says) as refused:
            move(place, target)
        assert SOURCE[1] not in str(refused.value)
    with pytest.raises(ServiceError, match="must be readable and writable. Received: .*not a database"):
        move(str(tmp_path / "garbage"), target)
    with pytest.raises(ConfigError, match="what it is moved to must be one of postgresql://, mysql://"):
        move(str(tmp_path / "other"), str(tmp_path / "new"))
    monkeypatch.delenv(FROM_USER)
    with pytest.raises(ConfigError, match=f"must be in the environment's {FROM_USER}"):
        move(target, empty("postgresql"))
