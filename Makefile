# Everything runs from .venv, which `make setup` builds from locked parts. PYTHON=python3.13 chooses what it is built with.
WORKERS ?= 2
BIN := .venv/bin
# The tests start hundreds of processes, so what Python has compiled is kept, whatever the environment says.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/pytest
# A worker begins with each half, so that a fixture of a file is made once, and one waits while the other computes.
PARALLEL = --numprocesses $(WORKERS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo picture test nightly setup schema types image dist release check format bench chaos simulate lock clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):[^#]*## /\1@/p' $(MAKEFILE_LIST) | awk -F@ '{ \
	line = sprintf("  make %-9s", $$1); count = split($$2, words, " "); \
	for (i = 1; i <= count; i++) { if (length(line " " words[i]) > 80) { print line; line = sprintf("%16s", "") } \
	line = line " " words[i] } print line }'

demo: setup ## start everything on this machine and watch messages move; Ctrl-C stops it (ARGS="--messages 500 --exit")
	@trap : INT; $(BIN)/outbox demo $(ARGS) || { code=$$?; test $$code -eq 130 || exit $$code; }

picture: setup ## run the demo and record the picture in the README, docs/demo.svg
	@$(BIN)/outbox demo --exit --svg docs/demo.svg

test: ## run the tests (ARGS="tests/unit -k window" for some, WORKERS=4 for more in parallel)
	@.ci/setup tests
	@if [ -z "$$(find tests -name 'test_*.py' -print -quit)" ]; then echo "no tests yet"; else \
	$(PYTEST) $(if $(ARGS),$(ARGS),$(PARALLEL)); fi

nightly: ## run all tests, the slow ones too, with ten times as many random examples (ARGS="tests/simulation" for some)
	@.ci/setup nightly
	@NIGHTLY=1 $(PYTEST) -m "" $(PARALLEL) $(ARGS)

setup: ## build .venv from the lock files; does nothing if they have not changed
	@.ci/setup

schema: setup ## write the migrations of the open schema version from supabase/schemas/ and supabase/releases/
	@$(BIN)/python -m sandbox.schema
	@$(BIN)/python .ci/releases.py renew

types: schema ## write the types of tables and functions for apps, from the schema as a database has it
	@$(BIN)/python -m sandbox.types

image: ## do the steps of deploy/Dockerfile in a clean root, and send messages from it (needs root, mmdebstrap)
	@.ci/setup tests
	@$(PYTEST) -m nightly tests/image $(ARGS)

dist: setup ## build the wheel and the source archive in dist/
	@rm -rf dist && $(BIN)/hatchling build

release: setup ## build the wheel of a release whose schema version is frozen, and keep it for tests of upgrades
	@$(BIN)/python .ci/wheel.py

check: ## check format, lint, types, import layers, house rules, the SQL sources and the digests of releases
	@.ci/setup check
	@$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --check .; exit 1; }
	@$(BIN)/ruff check --quiet --output-format concise .
	@$(BIN)/mypy --no-error-summary
	@report=$$($(BIN)/lint-imports --no-logo 2>&1) || { echo "$$report"; exit 1; }
	@$(BIN)/python .ci/house.py
	@$(BIN)/python -m sandbox.schema check
	@$(BIN)/python .ci/releases.py

format: setup ## format the code and fix lint errors where ruff can
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format --quiet .

bench: setup ## run the benchmarks: messages and callbacks a second, the cost of claims (ARGS=--help lists them)
	@$(BIN)/python -m benchmarks $(ARGS)

simulate: setup ## run random histories of faults in virtual time (RUNS=n histories; SEED=n replays one)
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED)) $(if $(RUNS),--runs $(RUNS)) $(ARGS)

chaos: setup ## kill processes and cut connections while messages are sent, then check what arrived (ARGS="--messages 2000 --seed 7")
	@$(BIN)/python -m tests.chaos $(ARGS)

lock: ## update the lock files from the package registries (ARGS=--upgrade takes newer versions)
	@.ci/lock $(ARGS)

clean: ## remove .venv, node_modules and caches; the next make builds them again
	rm -rf .venv sandbox/node/node_modules examples/nextjs/node_modules examples/nextjs/.next .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
