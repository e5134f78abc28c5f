"""Places of MLMD: what is taken, and what is refused so that no lineage keeps a password."""

import pytest
from ml_metadata import metadata_store

from components.common.errors import ConfigError
from components.common.mlmd import connection, exists


def test_a_path_is_a_sqlite_file_that_is_made(tmp_path):
    place = str(tmp_path / "metadata.sqlite")
    assert not exists(place)
    assert metadata_store.MetadataStore(connection(place)).get_artifacts() == [] and exists(place)


def test_mysql_takes_its_user_from_the_environment(monkeypatch):
    monkeypatch.setenv("LOCKGATE_METADATA_USER", "somebody")
    monkeypatch.setenv("LOCKGATE_METADATA_PASSWORD", "secret")
    found = connection("mysql://there/lineage").mysql
    assert (found.host, found.port, found.database) == ("there", 3306, "lineage")
    assert (found.user, found.password) == ("somebody", "secret") and exists("mysql://there/lineage")
    assert connection("mysql://there:3307/lineage").mysql.port == 3307


def test_grpc_is_mlmds_own_server():
    found = connection("grpc://metadata-grpc-service.kubeflow")
    assert (found.host, found.port) == ("metadata-grpc-service.kubeflow", 8080)


@pytest.mark.parametrize(
    "place", ["mysql://user:secret@there/lineage", "mysql://user@there/lineage", "mysql://there", "http://there/x"]
)
def test_what_is_no_place_is_refused_and_not_repeated(place, monkeypatch):
    monkeypatch.setenv("LOCKGATE_METADATA_USER", "somebody")
    with pytest.raises(ConfigError, match="^MLMD's place must .*Received: (mysql|http)://…$") as refused:
        connection(place)
    assert "secret" not in str(refused.value)


def test_without_the_secrets_user_it_says_which_variable(monkeypatch):
    monkeypatch.delenv("LOCKGATE_METADATA_USER", raising=False)
    with pytest.raises(ConfigError, match="LOCKGATE_METADATA_USER"):
        connection("mysql://there/lineage")
