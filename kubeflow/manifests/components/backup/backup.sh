#!/bin/bash
# Dumps both databases into FOLDER/TIME and keeps the newest KEEP of such dumps: backup.sh FOLDER KEEP.
#
# MLMD comes first. It remembers the newest entry of the ledger, and a ledger without that entry is refused; one that has
# further entries is not. So a charge that falls between the two dumps is in the ledger's, and nothing is lost.
set -euo pipefail
folder=$1 keep=$2
umask 077

time=$(date -u +%Y%m%dT%H%M%SZ)
writing=$folder/.writing
rm -rf "$writing"
mkdir "$writing"
for database in mlmd lockgate; do
    pg_dump --format=custom --dbname="$database" --file="$writing/$database.dump"
    pg_restore --file=/dev/null "$writing/$database.dump" # reads all of it
done
sync "$writing"/*.dump
mv "$writing" "$folder/$time"
echo "The databases are in $folder/$time, $(du -sh "$folder/$time" | cut -f1)."

find "$folder" -mindepth 1 -maxdepth 1 -type d -name '*T*Z' | sort -r | tail -n "+$((keep + 1))" | xargs -r rm -rf --
