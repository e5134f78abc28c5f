#!/bin/sh
# Gives a folder and all that is in it to a user: give.sh FOLDER UID. Where the folder is that user's, it does nothing.
# The folder itself comes last, so that a try which was cut short is taken up again.
set -eu
folder=$1 user=$2

if [ "$(stat -c %u "$folder")" = "$user" ]; then
    echo "$folder is user $user's already."
    exit 0
fi
if find "$folder" -xdev -mindepth 1 ! -user "$user" -exec chown -h "$user:$user" {} + && chown "$user:$user" "$folder"; then
    chmod 0700 "$folder"
    echo "$folder is user $user's now."
else
    # A server that squashes root lets nobody change owners from here. The check that follows decides.
    echo "$folder must be given to user $user by whoever runs its server: root may not do it from here (root_squash)."
fi
