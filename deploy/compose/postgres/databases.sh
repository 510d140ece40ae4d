#!/bin/sh
# Run once, by PostgreSQL's image, on an empty folder of data: a role and a database of its own for Banyan and for Unleash.
set -eu

make() {
    psql --no-psqlrc --username postgres --set ON_ERROR_STOP=1 --set role="$1" --set password="$(cat "$2")" <<'SQL'
CREATE ROLE :"role" LOGIN PASSWORD :'password';
CREATE DATABASE :"role" OWNER :"role";
SQL
}

folder=${SECRETS:-/run/secrets}
make banyan "$folder/DB_PASSWORD"
make unleash "$folder/UNLEASH_DB_PASSWORD"
