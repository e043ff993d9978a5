#!/bin/sh
# The certificate of a host that was given none: an authority of its own, made once, and a certificate of it for all names.
#
#     certificate.sh FOLDER NAME…
#
# A certificate that is for other names, or that ends in 60 days, is replaced. Clients trust ca.pem, which stays the same.
set -eu
umask 077
folder=$1
shift
cd "$folder"
names=$*

if [ -s server.pem ] && [ -s server.key ] && [ -s ca.pem ] && [ "$(cat names 2>/dev/null)" = "$names" ] &&
    openssl x509 -in server.pem -noout -checkend 5184000 >/dev/null && openssl verify -CAfile ca.pem server.pem >/dev/null 2>&1; then
    exit 0
fi

work=$(mktemp -d "$folder/.new-XXXXXX")
trap 'rm -rf "$work"' EXIT
if ! { [ -s ca.key ] && [ -s ca.pem ] && openssl x509 -in ca.pem -noout -checkend 34560000 >/dev/null; }; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$work/ca.key" -out "$work/ca.pem" -days 3650 \
        -subj "/CN=MLflow authority of $1" -addext 'basicConstraints=critical,CA:TRUE,pathlen:0' -addext 'keyUsage=critical,keyCertSign' 2>/dev/null
    mv "$work/ca.key" ca.key
    mv "$work/ca.pem" ca.pem
fi
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$work/server.key" -out "$work/server.csr" -subj "/CN=MLflow" 2>/dev/null
{
    printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\nsubjectAltName='
    printf 'DNS:%s,' "$@" | sed 's/,$//'
} >"$work/extensions"
openssl x509 -req -in "$work/server.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 397 -sha256 -extfile "$work/extensions" -out "$work/server.pem" 2>/dev/null
mv "$work/server.key" server.key
mv "$work/server.pem" server.pem
printf '%s' "$names" >names
chmod 0644 ca.pem server.pem names
echo made
