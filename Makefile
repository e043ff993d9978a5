# `make help` lists the targets. They run from a bare checkout: Python is found, everything else is installed in .venv.

MAKEFLAGS += --no-builtin-rules --no-print-directory
.SUFFIXES:
.DEFAULT_GOAL := help

# PYTHON=/path/to/python3 selects the interpreter; ARGS='…' is passed to the target's command.
PYTHON ?=
ARGS ?=
export PYTHON

ROOT := $(CURDIR)
VENV := $(ROOT)/.venv
export VENV
CHECK = "$(VENV)/bin/python" tools/check.py --venv "$(VENV)"

##@ The local environment, on the embedded AWS

.PHONY: demo
demo: venv ## Provision the local environment from scratch; a second run changes nothing
	@tools/local.sh demo $(ARGS)

.PHONY: plan
plan: venv ## Show what site.yml would change in the local environment
	@tools/local.sh plan $(ARGS)

.PHONY: up
up: venv ## Start the embedded AWS only
	@tools/local.sh up

.PHONY: publish
publish: venv ## Train the example models and publish them to the local bucket
	@tools/local.sh publish

.PHONY: play
play: venv ## Run a playbook: make play ARGS='playbooks/network.yml --check'
	@tools/local.sh play $(ARGS)

.PHONY: mlflow
mlflow: ## Forward https://localhost:8443 to the local environment's MLflow: make mlflow ARGS='--port 9443'
	@"$(VENV)/bin/python" tools/local_mlflow.py open $(ARGS)

.PHONY: day
day: venv ## Play a usual day, a half day and a holiday on the demo's clock: make day ARGS=--stay
	@tools/local.sh day $(ARGS)

.PHONY: day-page
day-page: venv ## Serve the page that shows the day, until Ctrl-C
	@"$(VENV)/bin/python" tools/market_day page $(ARGS)

.PHONY: destroy
destroy: venv ## Remove the local environment; the embedded AWS keeps running
	@tools/local.sh destroy $(ARGS)

.PHONY: down
down: ## Stop the embedded AWS and delete its data
	@tools/local.sh down

##@ The market-data server (docs/market-data.md)

# Its own small virtual environment, so that the demo installs nothing else.
DEMO_FEED_VENV := $(ROOT)/.venv-demo-feed

.PHONY: demo-feed
demo-feed: ## Run a simulated Alpaca, the server and three alpaca-py clients: make demo-feed ARGS='--seconds 20'
	@tools/venv.sh "$(DEMO_FEED_VENV)" any demo-feed
	@"$(DEMO_FEED_VENV)/bin/python" tools/demo_feed.py $(ARGS)

.PHONY: bench-feed
bench-feed: venv-dev ## Compare the server with minimal relays, in one run
	@"$(VENV)/bin/python" services/alpaca_websocket/bench $(ARGS)

##@ Checks (what CI runs is `make test`)

.PHONY: test
test: venv-dev ## Run all checks below, on both dependency sets where the interpreters exist
	@tools/test.sh $(ARGS)

.PHONY: lint types unit integration examples services artifact docs sanity units
lint: venv-dev ## ansible-lint (production profile), ruff, yamllint
types: venv-dev ## mypy
unit: venv-dev ## Unit tests: make unit ARGS='-k pacing'
integration: venv-dev ## Playbooks and plugins against the embedded AWS
examples: venv-dev ## The example model repository's own tests
services: venv-dev ## The market-data server's own tests
artifact: venv-dev ## Build and install the collection, check its contents and documentation
sanity: venv-dev ## ansible-test sanity of the built collection
units: venv-dev ## ansible-test units of the built collection
lint types unit integration examples services artifact sanity units:
	@$(CHECK) $@ -- $(ARGS)

.PHONY: bench-fleet
bench-fleet: venv-dev ## Compare the fleet with boto3, Terraform and ec2_instance
	@test -f tests/bench/fleet/__main__.py || { echo "There is no benchmark in tests/bench/fleet yet." >&2; exit 1; }
	@"$(VENV)/bin/python" tests/bench/fleet $(ARGS)

.PHONY: bench-site
bench-site: venv-dev ## Compare the whole environment with Terraform: make bench-site ARGS='--models 12 100 1000 --repeat 3'
	@"$(VENV)/bin/python" tests/bench/site $(ARGS)

.PHONY: bench-hosts
bench-hosts: venv-dev ## Time how ten trading servers are configured: make bench-hosts ARGS='--hosts 4'
	@"$(VENV)/bin/python" tests/bench/hosts $(ARGS)

##@ Housekeeping

.PHONY: venv
venv: ## Create or update .venv
	@tools/venv.sh "$(VENV)" any runtime

.PHONY: venv-dev
venv-dev:
	@tools/venv.sh "$(VENV)" any dev

.PHONY: lock
lock: venv ## Resolve the versions of requirements/*.in (LOCK_ARGS=--upgrade: the newest)
	@test -x .cache/lock/bin/uv || { "$$(cat "$(VENV)/.algo-python")" -m venv .cache/lock && .cache/lock/bin/pip install -q uv; }
	@tools/lock.sh "$(ROOT)"/.cache/lock/bin/uv

.PHONY: clean
clean: down ## Delete everything that make has created
	rm -rf .venv .venv-python* .venv-demo-feed .cache .ansible .mypy_cache .pytest_cache .ruff_cache .hypothesis build tests/output
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } \
	    /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	    /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(lastword $(MAKEFILE_LIST))
