# shellcheck shell=sh
# Sourced by the scripts beside it: what a run on the embedded AWS may see and where it may write.
# Nothing of the user's own account gets in, and nothing is left outside the clone.

# Somebody's own settings would change what a run does here, or lead it to a real account; where it writes its JSON does neither.
json=${ALGO_PLAN_JSON:-}
for name in $(env | sed -n 's/^\(\(ANSIBLE\|AWS\|BOTO\|EC2\|ALGO\)_[A-Za-z0-9_]*\)=.*/\1/p'); do unset "$name"; done
[ -z "$json" ] || export ALGO_PLAN_JSON="$json"
unset name json PYTHONPATH PYTHONHOME VIRTUAL_ENV
unset PYTHONDONTWRITEBYTECODE # a run starts many processes, and each would parse the same sources again

venv=${VENV:-$PWD/.venv}
PATH="$venv/bin:$PATH"
export PATH
export ANSIBLE_CONFIG="$PWD/ansible.cfg" # also where the clone's directory is writable for others
export ANSIBLE_HOME="$PWD/.local/ansible" ANSIBLE_REMOTE_TMP="$PWD/.local/ansible/tmp"
export ANSIBLE_ASYNC_DIR="$PWD/.local/ansible/async"
export NO_PROXY="127.0.0.1,localhost${NO_PROXY:+,$NO_PROXY}" no_proxy="127.0.0.1,localhost${no_proxy:+,$no_proxy}"
export LC_ALL=C.UTF-8 PYTHONUNBUFFERED=1
umask 022
