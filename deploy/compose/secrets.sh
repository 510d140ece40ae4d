#!/bin/sh
# Makes the secrets that are missing, each a file in secrets/ beside this one. What is there is left as it is.
#
# Compose shows these very files in the containers, where other users than yours have to read them: so the files are readable, and the folder
# is yours alone.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
chmod 0700 secrets

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

make() {
    [ -e "secrets/$1" ] && return
    printf '%s%s' "$2" "$(random)" >"secrets/$1.new"
    chmod 0644 "secrets/$1.new"
    mv "secrets/$1.new" "secrets/$1"
    echo "made secrets/$1"
}

for name in BANYAN_CONSOLE_PASSWORD DB_PASSWORD NATS_PASSWORD POSTGRES_PASSWORD UNLEASH_DB_PASSWORD; do
    make "$name" p # a letter first: NATS takes what looks like a number for one
done
make UNLEASH_TOKEN default:development.
make UNLEASH_ADMIN_TOKEN '*:*.'
