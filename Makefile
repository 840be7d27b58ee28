# `make` alone lists the targets. Everything runs in .venv, which sets itself up from requirements.lock.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON_HERE := .venv/bin/python
READY := .venv/.ready

# Else each of a thousand processes compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE

# Four at once: tests wait more than they compute. TESTS=tests/unit narrows, PYTEST_ARGS="-k nap -x" is passed on.
TESTS ?= tests
PYTEST_ARGS ?=

.PHONY: help
help:
	@echo "stepwell: make …"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 18

$(READY): requirements.lock pyproject.toml scripts/setup
	@scripts/setup
	@touch $@

.PHONY: setup
setup: $(READY) ## make .venv from the lock (every other target does so first)

.PHONY: demo
demo: $(READY) ## 28,000 airports, a SIGKILL midway, and the proof that nothing was lost or done twice
	@.venv/bin/stepwell demo

.PHONY: test
test: $(READY) ## all tests (TESTS=tests/unit, PYTEST_ARGS="-k nap -x")
	@$(PYTHON_HERE) -m pytest -n 4 --dist worksteal $(TESTS) $(PYTEST_ARGS)

.PHONY: check
check: $(READY) ## style, floors and types
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/lint-imports --no-cache
	.venv/bin/pyright
	.venv/bin/mypy

.PHONY: fix
fix: $(READY) ## repair what ruff can repair
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

.PHONY: bench
bench: $(READY) ## speed and memory beside their floor: a table, and JSON
	@$(PYTHON_HERE) -m bench

.PHONY: bench-short
bench-short: $(READY) ## the same on small numbers
	@$(PYTHON_HERE) -m bench --short

.PHONY: chaos
chaos: $(READY) ## kill, freeze, cut, partition, fail over, pull the plug; the history checker over it
	@$(PYTHON_HERE) -m tests.chaos

.PHONY: chaos-short
chaos-short: $(READY) ## the same for some minutes, without what needs root
	@$(PYTHON_HERE) -m tests.chaos --short --seed 2118  # the same dice each time: `make chaos` throws others

.PHONY: examine-api
examine-api: $(READY) ## schemathesis over the API, at length
	@$(PYTHON_HERE) -m tests.server.examine

.PHONY: fuzz
fuzz: $(READY) ## a million made-up filters for the parser (FUZZ=10000 for fewer)
	@$(PYTHON_HERE) -m tests.fuzz $(FUZZ)

.PHONY: ci
ci: setup ## what CI runs: check, test, and the short forms of bench and chaos
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory bench-short
	@$(MAKE) --no-print-directory chaos-short
	@$(MAKE) --no-print-directory test

.PHONY: lock
lock: ## pin again what pyproject.toml asks for (LOCK_ARGS=--upgrade for newer releases)
	scripts/lock $(LOCK_ARGS)

.PHONY: clean
clean: ## remove .venv and everything that was built
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
