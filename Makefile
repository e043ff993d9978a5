# `make help` lists what there is. Everything runs from a bare checkout: Python is found, the rest is installed in .venv.

MAKEFLAGS += --no-builtin-rules --no-print-directory
.SUFFIXES:
.DEFAULT_GOAL := help

# PYTHON=/path/to/python3 chooses the interpreter; ARGS='…' is passed on to what a target runs.
PYTHON ?=
ARGS ?=
export PYTHON

ROOT := $(CURDIR)
VENV := $(ROOT)/.venv
export VENV
CHECK = "$(VENV)/bin/python" tools/check.py --venv "$(VENV)"

##@ The local environment, on an AWS inside this clone

.PHONY: demo
demo: venv ## From nothing to a finished local environment; run it again: nothing changes
	@tools/local.sh demo $(ARGS)

.PHONY: plan
plan: venv ## What site.yml would change in the local environment
	@tools/local.sh plan $(ARGS)

.PHONY: up
up: venv ## Start the embedded AWS only
	@tools/local.sh up

.PHONY: publish
publish: venv ## Train the example models and publish them to the local bucket
	@tools/local.sh publish

.PHONY: play
play: venv ## Run a playbook on it: make play ARGS='playbooks/network.yml --check'
	@tools/local.sh play $(ARGS)

.PHONY: destroy
destroy: venv ## Take the local environment down; the embedded AWS stays
	@tools/local.sh destroy $(ARGS)

.PHONY: down
down: ## End the embedded AWS and delete what it kept
	@tools/local.sh down

##@ The market-data server (docs/market-data.md)

# Its own small environment: who only wants to see the server waits for nothing else.
DEMO_FEED_VENV := $(ROOT)/.venv-demo-feed

.PHONY: demo-feed
demo-feed: ## A stand-in for Alpaca, the server, three alpaca-py clients: make demo-feed ARGS='--seconds 20'
	@tools/venv.sh "$(DEMO_FEED_VENV)" any demo-feed
	@"$(DEMO_FEED_VENV)/bin/python" tools/demo_feed.py $(ARGS)

.PHONY: bench-feed
bench-feed: venv-dev ## Measure the server beside bare relays, in one run
	@"$(VENV)/bin/python" services/alpaca_websocket/bench $(ARGS)

##@ Checks (what CI runs is `make test`)

.PHONY: test
test: venv-dev ## Everything below, on both dependency sets where the interpreters exist
	@tools/test.sh $(ARGS)

.PHONY: lint types unit integration examples services artifact docs sanity units
lint: venv-dev ## ansible-lint (production profile), ruff, yamllint
types: venv-dev ## mypy
unit: venv-dev ## Unit tests: make unit ARGS='-k pacing'
integration: venv-dev ## Playbooks and plugins against the embedded AWS
examples: venv-dev ## The example model repository's own tests
services: venv-dev ## The market-data server's own tests
artifact: venv-dev ## Build the collection, install it, look at what is in it and at the documentation
sanity: venv-dev ## ansible-test sanity of the built collection
units: venv-dev ## ansible-test units of the built collection
lint types unit integration examples services artifact sanity units:
	@$(CHECK) $@ -- $(ARGS)

.PHONY: bench-fleet
bench-fleet: venv-dev ## Compare the fleet's cost with other ways to do it
	@test -f tests/bench/fleet/__main__.py || { echo "There is no benchmark in tests/bench/fleet yet." >&2; exit 1; }
	@"$(VENV)/bin/python" tests/bench/fleet $(ARGS)

##@ Housekeeping

.PHONY: venv
venv: ## Make .venv, or bring it up to date
	@tools/venv.sh "$(VENV)" any runtime

.PHONY: venv-dev
venv-dev:
	@tools/venv.sh "$(VENV)" any dev

.PHONY: lock
lock: venv ## Settle the versions of requirements/*.in anew (LOCK_ARGS=--upgrade: the newest)
	@test -x .cache/lock/bin/uv || { "$$(cat "$(VENV)/.algo-python")" -m venv .cache/lock && .cache/lock/bin/pip install -q uv; }
	@tools/lock.sh "$(ROOT)"/.cache/lock/bin/uv

.PHONY: clean
clean: down ## Delete everything that make has made
	rm -rf .venv .venv-python* .venv-demo-feed .cache .ansible .mypy_cache .pytest_cache .ruff_cache .hypothesis build tests/output
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*## " } \
	    /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	    /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(lastword $(MAKEFILE_LIST))
