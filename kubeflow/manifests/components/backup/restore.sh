#!/bin/bash
# Puts both databases back to what they were: restore.sh FOLDER TIME, where TIME may be `newest`. Each is put back in one
# transaction: a restore that fails leaves it as it was. No run may be under way.
set -euo pipefail
folder=$1 time=$2
export PGOPTIONS="-c client_min_messages=warning" # not a line for each table that goes

if [ "$time" = newest ]; then
    time=$(find "$folder" -mindepth 1 -maxdepth 1 -type d -name '*T*Z' -printf '%f\n' | sort | tail -n 1)
fi
if [ -z "$time" ] || [ ! -d "$folder/$time" ]; then
    there=$(find "$folder" -mindepth 1 -maxdepth 1 -type d -name '*T*Z' -printf '%f\n' | sort | paste -sd ' ')
    echo "BACKUP must name a backup that is there (${there:-there is none}). Received: ${time:-newest}" >&2
    exit 2
fi

in_use=$(psql -X -At -d lockgate -c "SELECT count(*) FROM pg_stat_activity
    WHERE datname IN ('mlmd', 'lockgate') AND pid <> pg_backend_pid()")
if [ "$in_use" != 0 ]; then
    echo "no run may be under way while databases are restored. Received: $in_use connections to them" >&2
    exit 2
fi

for database in mlmd lockgate; do
    {
        # an empty schema as every new database has it, so that a dump says nothing of it
        echo "BEGIN; DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION pg_database_owner;
            COMMENT ON SCHEMA public IS 'standard public schema'; GRANT USAGE ON SCHEMA public TO PUBLIC;"
        pg_restore --no-owner --no-privileges --file=- "$folder/$time/$database.dump"
        echo 'COMMIT;' # is not said where the dump could not be read to its end
    } | psql -X -q -v ON_ERROR_STOP=1 -d "$database" >/dev/null
    echo "Database $database is as it was at $time."
done
