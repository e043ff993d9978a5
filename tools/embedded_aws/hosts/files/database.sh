#!/bin/sh
# Process 1 of a database: makes the files of a new one, and becomes PostgreSQL as soon as its certificate is there.
set -eu
umask 077
data=/var/lib/postgresql/data
bin=$(echo /usr/lib/postgresql/*/bin)
as="setpriv --reuid=postgres --regid=postgres --init-groups"
install -d -o postgres -m 0755 /run/postgresql
if [ ! -e "$data" ]; then
    rm -rf "$data.new"
    install -d -o postgres -m 0700 "$data.new"
    $as "$bin/initdb" --pgdata "$data.new" --username rdsadmin --encoding UTF8 --locale C.UTF-8 --no-sync --no-instructions \
        --auth-local peer --auth-host scram-sha-256 >/dev/null
    # A database of the embedded AWS does not outlive it, so nothing has to reach the disk.
    printf "fsync = off\njit = off\nport = %s\n" "$EMBEDDED_AWS_PORT" >>"$data.new/postgresql.conf"
    printf 'rds postgres rdsadmin\n' >"$data.new/pg_ident.conf"
    mv "$data.new" "$data"
fi
until [ -e /etc/postgresql/server.pem ]; do sleep 0.1; done
rm -f "$data/postmaster.pid" # of a life that was ended
# As RDS with rds.force_ssl: nobody gets in without TLS.
printf 'local all rdsadmin peer map=rds\nhostssl all all all scram-sha-256\n' >"$data/pg_hba.conf"
chown postgres "$data"/*.conf
exec $as "$bin/postgres" -D "$data" -c listen_addresses='*' -c ssl=on -c ssl_min_protocol_version=TLSv1.2 \
    -c ssl_cert_file=/etc/postgresql/server.pem -c ssl_key_file=/etc/postgresql/server.pem \
    -c unix_socket_directories=/run/postgresql -c password_encryption=scram-sha-256
