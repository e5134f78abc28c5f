"""postgres/databases.sh, against a real PostgreSQL: whom it makes, what that user may do, and that it can run again."""

import subprocess

import pytest

FIRST, SECOND = "first'secret\\$(x)", "second"
_RIGHTS = (
    "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = 'lockgate'"
)
_OWNED = "SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) = 'lockgate' ORDER BY 1"
_STATE = (
    "SELECT xmin, rolname, rolpassword FROM pg_authid WHERE rolname !~ '^pg_' ORDER BY 2;"
    "SELECT xmin, datname, datdba, datacl FROM pg_database ORDER BY 2"
)


def refused(postgres, statement: str, database: str) -> str:
    with pytest.raises(subprocess.CalledProcessError) as raised:
        postgres.ask(statement, database, "lockgate", FIRST)
    return raised.value.stderr


def test_the_user_owns_both_databases_and_may_do_nothing_else(postgres):
    postgres.ask("CREATE DATABASE other")
    done = postgres.make_databases(FIRST)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout == "User lockgate owns the databases mlmd and lockgate.\n"
    assert postgres.ask(_OWNED).split() == ["lockgate", "mlmd"]
    assert postgres.ask(_RIGHTS) == "f|f|f|f|f"
    assert postgres.ask("SELECT left(rolpassword, 14) FROM pg_authid WHERE rolname = 'lockgate'") == "SCRAM-SHA-256$"
    for database in ("mlmd", "lockgate"):
        postgres.ask("CREATE TABLE t (i int); INSERT INTO t VALUES (1)", database, "lockgate", FIRST)
    for database in ("template1", "other"):
        assert "permission denied for database" in refused(postgres, "SELECT 1", database)
    assert "permission denied for schema public" in refused(postgres, "CREATE TABLE t (i int)", "postgres")
    assert "permission denied to create temporary tables" in refused(
        postgres, "CREATE TEMP TABLE t (i int)", "postgres"
    )
    assert "permission denied to create role" in refused(postgres, "CREATE ROLE another", "lockgate")
    assert "permission denied to create database" in refused(postgres, "CREATE DATABASE another", "lockgate")


def test_a_second_run_changes_nothing(postgres):
    assert postgres.make_databases(FIRST).returncode == 0
    before = postgres.ask(_STATE)
    assert postgres.make_databases(FIRST).returncode == 0
    assert postgres.ask(_STATE) == before and "lockgate" in before


def test_the_user_gets_the_password_that_the_secret_has_now(postgres):
    assert postgres.make_databases(FIRST).returncode == 0
    assert postgres.make_databases(SECOND).returncode == 0
    assert postgres.ask("SELECT 1", "mlmd", "lockgate", SECOND) == "1"
    assert "password authentication failed" in refused(postgres, "SELECT 1", "mlmd")


def test_a_try_that_was_cut_short_is_taken_up_and_too_many_rights_are_taken_away(postgres):
    postgres.ask("CREATE ROLE lockgate SUPERUSER CREATEROLE NOLOGIN")
    postgres.ask("CREATE DATABASE mlmd")
    assert postgres.make_databases(FIRST).returncode == 0
    assert postgres.ask(_RIGHTS) == "f|f|f|f|f"
    assert postgres.ask(_OWNED).split() == ["lockgate", "mlmd"]
    assert postgres.ask("SELECT 1", "lockgate", "lockgate", FIRST) == "1"


def test_a_password_that_is_not_kept_as_scram_is_kept_anew(postgres):
    assert postgres.make_databases(FIRST).returncode == 0
    postgres.ask("SET password_encryption = 'md5'; ALTER ROLE lockgate PASSWORD 'old'")
    assert postgres.make_databases(FIRST).returncode == 0
    assert postgres.ask("SELECT left(rolpassword, 14) FROM pg_authid WHERE rolname = 'lockgate'") == "SCRAM-SHA-256$"


def test_no_log_of_the_server_holds_a_password(postgres):
    postgres.ask("ALTER SYSTEM SET log_statement = 'all'")
    postgres.ask("SELECT pg_reload_conf()")
    assert postgres.make_databases("a-password-to-look-for").returncode == 0
    log = postgres.server.log.read_text()
    assert "CREATE ROLE" in log, "it logs statements"
    assert "a-password-to-look-for" not in log


def test_a_wrong_password_of_the_owner_ends_it(postgres):
    done = postgres.make_databases(FIRST, owner="wrong")
    assert done.returncode != 0
    assert 'password authentication failed for user "postgres"' in done.stderr


def test_whoever_may_enter_the_pod_gives_the_owner_a_new_password_when_its_secret_is_lost(postgres):
    """The pod's processes are the user postgres, whom the server knows by the socket."""
    if postgres.server.user is None:
        pytest.skip("only root can be another user")
    inside = ["psql", "-X", "-h", str(postgres.folder), "-p", str(postgres.port), "-U", "postgres", "-d", "postgres"]
    statement = "ALTER ROLE postgres PASSWORD 'new'"
    subprocess.run([*inside, "-c", statement], user=postgres.server.user, cwd="/", check=True, capture_output=True)
    assert postgres.ask("SELECT 1", password="new") == "1"
    assert subprocess.run([*inside, "-w", "-c", statement], cwd="/", capture_output=True).returncode != 0, "not as root"
