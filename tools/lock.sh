#!/bin/sh
# Resolves the versions for requirements/*.in and writes them with the registry's hashes.
#
#     make lock                          changes only what the inputs force
#     make lock LOCK_ARGS=--upgrade      takes the newest versions
#
# Indexes and local packages that this machine's user may have set up are left out on purpose: the hashes are those of
# the public registry, the same for everybody.
set -eu
uv=${1:?usage: lock.sh UV}
cd "$(dirname "$0")/../requirements"
unset UV_INDEX UV_INDEX_URL UV_EXTRA_INDEX_URL UV_DEFAULT_INDEX UV_FIND_LINKS UV_CONSTRAINT UV_OVERRIDE || true

here=$PWD
service=$here/../services/alpaca_websocket/data/share/alpaca-websocket
mlflow=$here/../roles/mlflow_server/files
gpu=$here/../roles/gpu_host/files
trading=$here/../examples/algo-modeling-v2
project=$(mktemp -d) # uv takes the platforms to settle for from a pyproject.toml, and ours is about other things
trap 'rm -rf "$project"' EXIT

compile() { # PYTHON RANGE COMMENT OUTPUT INPUT...
    python=$1 range=$2 comment=$3 out=$4
    shift 4
    echo "requirements/$out ..." >&2
    cat >"$project/pyproject.toml" <<TOML
[tool.uv]
environments = [
    "sys_platform == 'linux' and implementation_name == 'cpython' and $range",
    "sys_platform == 'darwin' and implementation_name == 'cpython' and $range",
]
TOML
    cp "$here"/*.in "$project"
    # Versions in the present lock are preferred; those of a runtime set bind its development set.
    cp "$here"/*.txt "$service"/*.txt "$mlflow"/*.txt "$gpu"/*.txt "$project" 2>/dev/null || true
    # shellcheck disable=SC2086  # LOCK_ARGS are words
    (cd "$project" && "$uv" pip compile --quiet --universal --python-version "$python" --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-annotate --no-header ${LOCK_ARGS:-} --output-file "$out" "$@")
    {
        echo "# Made by \`make lock\`; change requirements/*.in instead. $comment"
        # Every line's marker repeats the platforms above; a name that still occurs twice is a mistake a test finds.
        sed 's/ ; .* \\$/ \\/' "$project/$out"
    } >"$out.new"
    mv "$out.new" "$out"
}

# A development set adds to its runtime set and agrees with it on every version.
compile 3.11 "python_version < '3.12'" "For Python 3.11." python3.11.txt ansible-python3.11.in runtime.in
compile 3.11 "python_version < '3.12'" "For Python 3.11." python3.11-dev.txt dev.in -c python3.11.txt
compile 3.12 "python_version >= '3.12'" "For Python 3.12 and later." python3.12.txt ansible-python3.12.in runtime.in
compile 3.12 "python_version >= '3.12'" "For Python 3.12 and later." python3.12-dev.txt dev.in -c python3.12.txt
# The demonstration's set is a part of the two others, and what was tested with them.
compile 3.11 "python_version < '3.12'" "For Python 3.11." python3.11-demo-feed.txt demo-feed.in \
    -c python3.11.txt -c python3.11-dev.txt
compile 3.12 "python_version >= '3.12'" "For Python 3.12 and later." python3.12-demo-feed.txt demo-feed.in \
    -c python3.12.txt -c python3.12-dev.txt
# A host that pulls has what the controller has.
compile 3.11 "python_version < '3.12'" "For Python 3.11." python3.11-pull.txt pull.in -c python3.11.txt
compile 3.12 "python_version >= '3.12'" "For Python 3.12 and later." python3.12-pull.txt pull.in -c python3.12.txt
# What the market-data server is installed with on a host, in its wheel: nothing else than what is tested here.
compile 3.11 "python_version < '3.12'" "For Python 3.11." requirements-python3.11.txt service.in \
    -c python3.11.txt -c python3.11-dev.txt
compile 3.12 "python_version >= '3.12'" "For Python 3.12 and later." requirements-python3.12.txt service.in \
    -c python3.12.txt -c python3.12-dev.txt
mv requirements-python3.1?.txt "$service"
# What a host's MLflow is installed with. Independent of the others: nothing else runs in its environment.
compile 3.11 "python_version < '3.12'" "For Python 3.11." mlflow-server-python3.11.txt mlflow-server.in \
    --override mlflow-server-without.in
compile 3.12 "python_version >= '3.12'" "For Python 3.12 and later." mlflow-server-python3.12.txt mlflow-server.in \
    --override mlflow-server-without.in
mv mlflow-server-python3.1?.txt "$mlflow"
# What jobs on a GPU host find. The same for both architectures: the registry has each package for both.
compile 3.11 "python_version < '3.12'" "For Python 3.11." gpu-host-python3.11.txt gpu-host.in
compile 3.12 "python_version >= '3.12'" "For Python 3.12 and later." gpu-host-python3.12.txt gpu-host.in
mv gpu-host-python3.1?.txt "$gpu"
# What a host's trading code is installed with, in its wheel: what it says that it needs, in the versions that it is tested with.
"$(dirname "$uv")/python" -c 'import sys, tomllib
project = tomllib.load(open(sys.argv[1], "rb"))["project"]
print(*project["dependencies"], *project["optional-dependencies"]["trade"], sep="\n")' "$trading/pyproject.toml" >"$project/trading-code"
compile 3.11 "python_version < '3.12'" "For Python 3.11, from pyproject.toml." trading-code-python3.11.txt "$project/trading-code" \
    -c python3.11.txt -c python3.11-dev.txt
compile 3.12 "python_version >= '3.12'" "For Python 3.12 and later, from pyproject.toml." trading-code-python3.12.txt \
    "$project/trading-code" -c python3.12.txt -c python3.12-dev.txt
mv trading-code-python3.11.txt "$trading/requirements-python3.11.txt"
mv trading-code-python3.12.txt "$trading/requirements-python3.12.txt"
