#!/bin/sh
# The local environment, from an empty account to a finished one, on an AWS that runs in this clone and needs no account.
#
#     local.sh demo       train and publish the example models, then site.yml
#     local.sh plan       what site.yml would do, without doing it
#     local.sh publish    train and publish only
#     local.sh up         the embedded AWS only
#     local.sh day        the demo's trading days on a moved clock (tools/market_day); makes the demo first if there is none
#     local.sh play …     ansible-playbook -i inventories/local …
#     local.sh destroy    take the local environment down, keep the embedded AWS
#     local.sh down       stop the embedded AWS and delete .local
#
# Instances are Linux hosts where they can be (docs/embedded-aws.md). HOSTS=off: records only. HOSTS=on: insist, and install the
# packages that hosts need, as root of Debian or Ubuntu and after saying so.
#
# Run by make, which has made .venv before. Each step finds out by itself what is left to do, so that a run that was
# interrupted anywhere is finished by the next one.
set -eu
cd "$(dirname "$0")/.."
. tools/env.sh

models=$PWD/.local/models
bucket=algo-model-deploy-local

say() { printf '\n==> %s\n' "$*"; }

up() {
    [ "${HOSTS:-}" != on ] || "$venv/bin/python" tools/embedded_aws packages
    "$venv/bin/python" tools/embedded_aws start --hosts "${HOSTS:-auto}"
    eval "$("$venv/bin/python" tools/embedded_aws env)"
    export AWS_EC2_METADATA_DISABLED=true
}

hosts() { grep -q '"hosts": true' .local/aws/server.json; } # whether this embedded AWS makes hosts of instances

modeling() { (cd examples/algo-modeling-v2 && "$venv/bin/python" -m algo_modeling "$@"); }

publish() {
    say "Training the example models on real price history (seconds)"
    modeling train --output "$models"
    say "Publishing them to s3://$bucket of the embedded AWS"
    modeling publish --output "$models" --bucket "$bucket" --create-bucket --endpoint-url "$AWS_ENDPOINT_URL" \
        --region us-east-1 --bucket-tag Project=algo-trading --bucket-tag Environment=local
}

market() {
    say "Building the trading code; starting the market, a simulated Alpaca and a paper broker"
    [ -n "$(find .cache/hosts -maxdepth 2 -name complete 2>/dev/null)" ] ||
        echo "The hosts' base image is made first, once for this clone (about a minute)."
    "$venv/bin/python" tools/trading_wheel.py >.local/trading-code.new
    mv .local/trading-code.new .local/trading-code.json
    "$venv/bin/python" tools/paper_market.py start
}

# The instances that are configured from here. Another one in their place, whoever replaced them, is not configured yet.
pushed() {
    "$venv/bin/python" tools/embedded_aws hosts |
        awk '$3 !~ /^(shutting-down|terminated)$/ && $5 ~ /^(alpaca_websocket|mlflow_server)$/ { print $1 }' | sort | xargs
}

# The trading servers boot from an image with everything installed, and configure themselves. It is made, and the market-data server
# and MLflow configured, once in the life of an environment, and again for other roles, code or instances.
image() {
    made=$(cat .local/aws/server.json .local/trading-code.json requirements/*.txt | cksum)
    made="$made $(find roles/common roles/trading_server roles/aws_image roles/alpaca_websocket services/alpaca_websocket roles/mlflow_server inventories/local inventories/shared -type f -not -name '*.pyc' -not -path '*/.*' -exec cksum {} + | sort | cksum)"
    [ "$made $(pushed)" != "$(cat .local/images.made 2>/dev/null)" ] || return 0
    say "Provisioning network and identities, which making an image needs"
    play site.yml --tags network,identity
    say "Making the image of the trading servers (a minute or two); at the same time, the market-data server and MLflow"
    play playbooks/bake_ami.yml -e component=trading_server >.local/image.log 2>&1 &
    baking=$!
    play site.yml --tags alpaca_websocket,mlflow_server -e algo_configure=true || { kill "$baking"; return 1; }
    wait "$baking" || { cat .local/image.log; return 1; }
    sed -n '/image ami/p' .local/image.log
    echo '{"trading_server": "/algo-trading/local/image/trading_server"}' >.local/images.json
    echo "$made $(pushed)" >.local/images.made
}

track() {
    say "Logging the models to MLflow, a run for each"
    "$venv/bin/python" tools/local_mlflow.py track "$models"
}

play() { ansible-playbook -i inventories/local "$@"; }

next() {
    cat <<'END'

Worth trying next:

    make mlflow                      open the page of MLflow, with the models' runs (where there are hosts)
    make plan                        what another run would change: nothing
    make plan ARGS='-e aws_mlflow_server_instance_type=t4g.medium'
                                     what one changed setting would change
    make day                         a trading day, a half day and a holiday in a few minutes
    make destroy                     take it all down again, in reverse order; models stay

`make down` ends the embedded AWS and leaves nothing behind.
END
}

command=${1:-demo}
[ $# -eq 0 ] || shift
case $command in
    demo)
        began=$(date +%s)
        say "Starting the embedded AWS"
        up
        publish
        if hosts; then
            market
            image
            track || say "The models were not logged (see above). The next make demo tries again"
            # What has to be configured is; this run waits until all hosts work.
            set -- -e algo_configure=true -e '{"algo_configure_components": ["none"]}' "$@"
        fi
        say "Provisioning: ansible-playbook -i inventories/local site.yml (a minute or two; each step reports)"
        play site.yml "$@"
        printf '\nThe local environment is ready after %s s.\n' "$(($(date +%s) - began))"
        next
        ;;
    day)
        up
        ended=0
        "$venv/bin/python" tools/market_day play "$@" || ended=$?
        [ "$ended" = 3 ] || exit "$ended" # 3: there is no environment yet
        "$0" demo
        exec "$venv/bin/python" tools/market_day play "$@"
        ;;
    plan)
        up
        play site.yml --check --diff "$@"
        ;;
    publish)
        up
        publish
        ;;
    up) up ;;
    play)
        up
        play "$@"
        ;;
    destroy)
        up
        play playbooks/destroy.yml "$@"
        ;;
    down)
        if [ -x "$venv/bin/python" ]; then
            "$venv/bin/python" tools/embedded_aws stop
        else
            "$(tools/find_python.sh)" tools/embedded_aws stop
        fi
        rm -rf .local
        echo "Only the tools remain: .venv and .cache (make clean deletes them too)."
        ;;
    *)
        sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
esac
