#!/bin/bash
# Makes a user without any rights but on two databases that it owns: mlmd (MLMD) and lockgate (the privacy ledger and the
# count of decisions). PGHOST, PGPORT, PGUSER and PGPASSWORD say where PostgreSQL is and who its owner is; LOCKGATE_USER
# and LOCKGATE_PASSWORD whom to make. A second run changes nothing.
set -euo pipefail

for ((second = 0; ; second++)); do
    pg_isready -q && break
    if ((second >= 300)); then
        echo "PostgreSQL at $PGHOST:$PGPORT must answer: look at the pod lockgate-postgres-0. Received: nothing for 300 s" >&2
        exit 2
    fi
    sleep 1
done

psql=(psql -X -q -v ON_ERROR_STOP=1 -d postgres)

# Whether the user's password is the secret's and kept as SCRAM. A wrong one is refused by the server, which logs it.
current() {
    [ "$("${psql[@]}" -At -v user="$LOCKGATE_USER" <<<"SELECT rolpassword LIKE 'SCRAM-SHA-256\$%' FROM pg_authid WHERE rolname = :'user'")" = t ] &&
        PGUSER=$LOCKGATE_USER PGPASSWORD=$LOCKGATE_PASSWORD psql -X -q -d lockgate -c 'SELECT' >/dev/null 2>&1
}

"${psql[@]}" -v user="$LOCKGATE_USER" <<'SQL'
SELECT format('CREATE ROLE %I LOGIN', :'user')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'user') \gexec

SELECT format('ALTER ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', :'user') FROM pg_roles
WHERE rolname = :'user'
    AND (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls OR NOT rolcanlogin) \gexec

SELECT format('CREATE DATABASE %I OWNER %I TEMPLATE template0 ENCODING ''UTF8''', name, :'user')
FROM unnest(ARRAY['mlmd', 'lockgate']) AS name
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name) \gexec

SELECT format('ALTER DATABASE %I OWNER TO %I', datname, :'user') FROM pg_database
WHERE datname IN ('mlmd', 'lockgate') AND pg_get_userbyid(datdba) <> :'user' \gexec

-- PostgreSQL lets everybody connect to every database; here, nobody but its owner.
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', datname) FROM pg_database
WHERE EXISTS (SELECT FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) WHERE grantee = 0) \gexec

-- MLMD connects to the empty database postgres first, to see whether its own is there (ConnectDB in ML Metadata's
-- postgresql_metadata_source.cc).
SELECT format('GRANT CONNECT ON DATABASE postgres TO %I', :'user')
WHERE NOT has_database_privilege(:'user', 'postgres', 'CONNECT') \gexec
SQL

if ! current; then
    "${psql[@]}" -v user="$LOCKGATE_USER" <<'SQL'
\getenv password LOCKGATE_PASSWORD
SET log_statement = 'none';
SET log_min_error_statement = 'panic'; -- the server's log must not quote a password
SET password_encryption = 'scram-sha-256';
SELECT format('ALTER ROLE %I PASSWORD %L', :'user', :'password') \gexec
SQL
fi
current || {
    echo "user $LOCKGATE_USER must be able to log in with the secret's password. Received: a refusal" >&2
    exit 2
}
echo "User $LOCKGATE_USER owns the databases mlmd and lockgate."
