#!/bin/sh
# On a trading server, as root, in a copy of this checkout: configures this host with the roles that a push uses, without a
# controller. Installs Ansible in an environment of its own first, in the versions of requirements/python3.…-pull.txt.
#
#     tools/pull.sh ENVIRONMENT [option of ansible-playbook …]
#
# How a copy gets there, and when this is of use: docs/connecting.md#hosts-that-pull
set -eu
umask 022
cd "$(dirname "$0")/.."

fail() { echo "pull.sh: $*" >&2; exit 2; }

environment=${1:?usage: pull.sh ENVIRONMENT [option of ansible-playbook …]}
shift
[ "$(id -u)" = 0 ] || fail "only root can configure a host. Use sudo."
[ -f "inventories/$environment/hosts.yml" ] || fail "there is no inventories/$environment. Nothing was changed."

for name in $(env | sed -n 's/^\(ANSIBLE_[A-Za-z0-9_]*\)=.*/\1/p'); do unset "$name"; done
unset name PYTHONPATH PYTHONHOME
# One at a time: also what Ansible starts holds the lock.
exec 9>/run/algo-pull.lock
flock --wait 900 9 || fail "another one has been running for 15 minutes. Nothing was changed."

for python in python3 python3.11; do
    version=$("$python" -c 'import sys; print("3.12" if sys.version_info >= (3, 12) else "3.%d" % sys.version_info[1])' 2>/dev/null) || continue
    [ ! -f "requirements/python$version-pull.txt" ] || break
done
lock=requirements/python${version:-}-pull.txt
[ -f "$lock" ] || fail "it needs Python 3.11 or later. Nothing was changed."
base=/opt/algo-trading/pull
tools=$base/$(sha256sum "$lock" | cut -c -12)
if [ ! -e "$tools/complete" ]; then
    "$python" -m venv --clear "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check --no-input --no-cache-dir \
        --require-hashes --only-binary :all: -r "$lock"
    touch "$tools/complete"
fi
find "$base" -mindepth 1 -maxdepth 1 ! -path "$tools" -exec rm -rf {} +

HOME=/root ANSIBLE_CONFIG=$PWD/ansible.cfg ANSIBLE_HOME=$tools/home LC_ALL=C.UTF-8
export HOME ANSIBLE_CONFIG ANSIBLE_HOME LC_ALL
exec "$tools/bin/ansible-playbook" -i "inventories/$environment/hosts.yml" playbooks/pull.yml "$@"
