#!/bin/sh
# Run in a container of the base image: PostgreSQL of the distribution, without a database.
set -eu
export DEBIAN_FRONTEND=noninteractive
mkdir -p /etc/postgresql-common
echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
apt-get -qq update
apt-get -qq install --no-install-recommends -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Options::=--force-confold postgresql >/dev/null
apt-get clean
rm -rf /var/lib/apt/lists/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/*
