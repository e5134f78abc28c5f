#!/bin/sh
# Tries whether this user can write, lock and rename in a folder: check.sh FOLDER.
set -eu
folder=$1
trial=$folder/.lockgate-trial-$$
trap 'rm -f "$trial" "$trial.renamed"' EXIT

refuse() {
    echo "the volume must $1. Received: owner $(stat -c '%u:%g, mode %a' "$folder"), and this is user $(id -u)" >&2
    exit 2
}

{ echo trial >"$trial"; } 2>/dev/null ||
    refuse "be writable for user $(id -u): on its server, chown $(id -u):$(id -u) what is exported, or set that as the owner in the storage class"
flock -n "$trial" true 2>/dev/null || refuse "honour flock: use NFS 4 with locks, or CephFS"
mv "$trial" "$trial.renamed" 2>/dev/null || refuse "let its owner rename files"
echo "$folder can be written and locked by user $(id -u)."
