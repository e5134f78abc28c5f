"""MLMD on a real PostgreSQL: what its client gets wrong there is set right, for TFX's stores too."""

import itertools
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import psycopg
import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as pb
from tfx.orchestration.metadata import Metadata

from components.common import mlmd, mlmd_postgresql
from components.common.errors import ServiceError
from components.common.mlmd import connection, opened
from components.common.mlmd_postgresql import escaped, unescaped

USER, PASSWORD = "pipeline", "k9 Se'same\\open=\""
HOSTILE = ("\\", "'); DROP TABLE artifact; -- \\", "a\0b", "\uf05c", "\uf05cb\\", "it's \n\t ü 漢 😀 $1 %s {}", "")
_names = (f"mlmd{i}" for i in itertools.count())


@pytest.fixture(scope="module")
def server(postgresql_server):
    quoted = PASSWORD.replace("'", "''")
    postgresql_server.execute(f"CREATE USER {USER} PASSWORD '{quoted}'")
    return postgresql_server


@pytest.fixture
def place(server, monkeypatch):
    monkeypatch.setenv(mlmd.USER, USER)
    monkeypatch.setenv(mlmd.PASSWORD, PASSWORD)
    return fresh(server)


def fresh(server) -> str:
    name = next(_names)
    server.fresh(name)
    server.execute(f"ALTER DATABASE {name} OWNER TO {USER}")
    return f"postgresql://{server.url.split('@')[1].split('/')[0]}/{name}"


@pytest.mark.parametrize("text", [*HOSTILE, "plain", "".join(HOSTILE)])
def test_a_text_comes_back_as_it_was(text):
    kept = escaped(text)
    assert unescaped(kept) == text and "\\" not in kept and "\0" not in kept


def test_tfx_keeps_and_finds_whatever_a_text_says(place):
    """Names, keys, places and properties; what comes after a backslash does not run as SQL."""
    with Metadata(connection(place)) as handle:
        store = handle.store
        kind = store.put_artifact_type(pb.ArtifactType(name="T\\", properties={"p\\": pb.STRING}))
        for i, text in enumerate(HOSTILE):
            made = pb.Artifact(type_id=kind, name=f"{i}{text}", uri=f"/there/{i}{text}")
            made.properties["p\\"].string_value = text
            made.custom_properties["own"].string_value = text
            made.custom_properties["struct"].struct_value.update({text: [text, {"a": text}]})
            (id,) = store.put_artifacts([made])
            (read,) = store.get_artifacts_by_id([id])
            assert (read.name, read.uri) == (made.name, made.uri)
            assert dict(read.properties) == dict(made.properties)
            assert dict(read.custom_properties) == dict(made.custom_properties)
            assert [a.id for a in store.get_artifacts_by_uri(made.uri)] == [id]
            assert store.get_artifact_by_type_and_name("T\\", made.name).id == id
        assert [t.name for t in store.get_artifact_types()][-1] == "T\\"
        assert len(store.get_artifacts()) == len(HOSTILE)


def test_long_texts_and_large_numbers_are_kept(place):
    with opened(place) as store:
        kind = store.put_context_type(pb.ContextType(name="C"))
        made = pb.Context(type_id=kind, name="n")
        made.custom_properties["long"].string_value = os.urandom(500_000).hex()
        for name, number in (("most", 2**63 - 1), ("least", -(2**63))):
            made.custom_properties[name].int_value = number
        store.put_contexts([made])
        assert dict(store.get_contexts()[0].custom_properties) == dict(made.custom_properties)
        made = [pb.Context(type_id=kind, name=f"many {i}") for i in range(500)]
        store.put_contexts(made)
        assert len(store.get_contexts_by_type("C")) == 501
        assert store.get_context_by_type_and_name("C", "Many 7") is None  # MySQL would find it


def test_a_database_that_mlmd_made_alone_is_made_ready(server, place):
    """As whoever else writes there, such as an older version of us, has left it."""
    owner = server.url.rsplit("/", 1)[0] + "/" + place.rsplit("/", 1)[1]
    address, name = place.split("//")[1].split("/")
    config = pb.ConnectionConfig()
    config.postgresql.host, config.postgresql.port = address.split(":")
    config.postgresql.dbname, config.postgresql.user, config.postgresql.skip_db_creation = name, "lockgate", True
    store = metadata_store.MetadataStore(config)
    kind = store.put_context_type(pb.ContextType(name="C"))
    store.put_contexts([pb.Context(type_id=kind, name="before")])
    with psycopg.connect(owner) as other:
        other.execute("INSERT INTO type (name, type_kind) VALUES ('twice', 1), ('twice', 1)")
        for table in other.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall():
            other.execute(f"ALTER TABLE {table[0]} OWNER TO {USER}")
    with opened(place) as store:
        assert [c.name for c in store.get_contexts()] == ["before"]
        changed = store.get_contexts()[0]
        changed.custom_properties["n"].int_value = 2**40
        store.put_contexts([changed])
        assert store.get_contexts()[0].custom_properties["n"].int_value == 2**40


def meet(barrier: Any) -> None:
    """Of a process that has imported all it needs: waits until the others have, too."""
    os.environ["GLOG_minloglevel"] = "3"  # noqa: SIM112
    barrier.wait(120)


def registered(place: str) -> list[int]:
    """Of a process: the ids that its types get."""
    with opened(place) as store:
        kinds = [pb.ExecutionType(name=f"type {i}", properties={"p": pb.INT}) for i in range(60)]
        return [store.put_execution_type(kind) for kind in kinds]


def test_many_that_begin_on_an_empty_database_make_it_and_each_type_once(place):
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(4, mp_context=context, initializer=meet, initargs=(context.Barrier(4),)) as pool:
        found = [pool.submit(registered, place) for _ in range(4)]
        assert len({tuple(each.result()) for each in found}) == 1
    with opened(place) as store:
        names = [t.name for t in store.get_execution_types()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("user", "password", "database", "says"),
    [
        (USER, "wrong", "", "password authentication failed"),
        ("nobody", PASSWORD, "", "password authentication failed"),
        (USER, PASSWORD, "nowhere", 'database "nowhere" does not exist'),
    ],
)
def test_a_server_that_refuses_is_one_line_that_says_why(place, user, password, database, says, monkeypatch):
    monkeypatch.setenv(mlmd.USER, user)
    monkeypatch.setenv(mlmd.PASSWORD, password)
    where = f"{place.rsplit('/', 1)[0]}/{database}" if database else place
    said = refusal(where)
    assert says in said and password not in said


def refusal(place: str) -> str:
    """The one line that a place is refused with."""
    with pytest.raises(ServiceError, match=f"^MLMD at {place} must be readable and writable. Received: .") as told:
        connection(place)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_a_server_that_is_not_there_is_one_line(place):
    assert "Connection refused" in refusal("postgresql://127.0.0.1:1/x")


def test_a_server_that_goes_away_is_one_line(server, place):
    try:
        with (
            pytest.raises(ServiceError, match="^MLMD at .* must be readable and writable. Received: "),
            opened(place) as s,
        ):
            server.stop()
            s.get_artifacts()
        with pytest.raises(ServiceError, match="^MLMD at .* must be readable and writable. Received: "), opened(place):
            pass
    finally:
        server.start()
    with opened(place) as store:
        assert store.get_artifacts() == []


def test_a_store_of_another_kind_is_left_alone(place, tmp_path):
    connection(place)
    with opened(str(tmp_path / "metadata.sqlite")) as store:
        kind = store.put_context_type(pb.ContextType(name="back\\slash"))
        store.put_contexts([pb.Context(type_id=kind, name="\uf05cb")])
        assert store.get_contexts()[0].name == "\uf05cb" and store.get_context_types()[0].name == "back\\slash"


def test_the_guard_reaches_every_text_of_a_request():
    """Not only those that MLMD's messages have today: whatever is a text in what is sent."""
    request = pb.Execution(name="\\", external_id="\\", type="\\")
    request.properties["\\"].proto_value.Pack(pb.Artifact(uri="\\"))
    path = pb.Event.Path(steps=[pb.Event.Path.Step(key="\\"), pb.Event.Path.Step(index=1)])
    event = pb.Event(path=path)
    for message in (request, event):
        mlmd_postgresql._change_texts(message, escaped)
    assert "\\" not in (request.name, request.external_id, request.type, *request.properties, event.path.steps[0].key)
    assert event.path.steps[1].index == 1
