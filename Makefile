# Everything a developer runs. `make help` lists it. Needs Python >= 3.11, git and make.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# The gates run in the order they are named, pytest last.
.NOTPARALLEL:
.DELETE_ON_ERROR:

VENV ?= .venv
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	"$$name" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo "$$name" && break; done)

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# One stamp per step, so that a second run starts at once and a changed pin rebuilds.
PINNED := $(VENV)/pinned.stamp
RUN := $(VENV)/run.stamp
DEV := $(VENV)/dev.stamp

PROTOS := $(notdir $(wildcard proto/weighbridge/v1/*.proto))
# $(call protoc,directory): the same compiler, plugins and paths for `generate` and its check.
protoc = $(BIN)/python -m grpc_tools.protoc -I proto \
	--plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy \
	--plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
	--python_out=$(1) --grpc_python_out=$(1) \
	--mypy_out=quiet:$(1) --mypy_grpc_out=quiet:$(1) \
	$(addprefix weighbridge/v1/,$(PROTOS))

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

.PHONY: run
run: $(RUN) ## Start both processes, tour them and keep serving (ARGS=--once ends after the tour)
	@$(BIN)/python examples/tour.py $(ARGS)

.PHONY: test
test: lint types imports check-generated buf pytest ## Every gate, then every test

.PHONY: lint
lint: $(DEV) ## Check formatting and lint rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

.PHONY: format
format: $(DEV) ## Format, and fix what can be fixed by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: types
types: $(DEV) ## Check types
	$(BIN)/mypy

.PHONY: imports
imports: $(DEV) ## Check that modules import only what the architecture lets them
	$(BIN)/lint-imports

.PHONY: generate
generate: $(DEV) ## Generate weighbridge/v1 from proto/
	$(call protoc,.)

.PHONY: check-generated
check-generated: $(DEV) ## Check that weighbridge/v1 is what proto/ generates
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT; \
	$(call protoc,"$$fresh"); \
	diff -r -x __init__.py -x __pycache__ weighbridge/v1 "$$fresh/weighbridge/v1" \
	|| { echo "weighbridge/v1 is not what proto/ generates: run 'make generate'" >&2; exit 1; }

.PHONY: buf
buf: $(DEV) ## Lint the wire contract, and compare it with the last release
	$(BIN)/buf lint
	@release=$$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null || true); \
	if [ -n "$$release" ]; then \
		echo "$(BIN)/buf breaking --against .git#tag=$$release"; \
		$(BIN)/buf breaking --against ".git#tag=$$release"; \
	else \
		echo "buf breaking: nothing is released yet, so nothing can break"; \
	fi

# Coverage is gated on the rules: pure code has no excuse. `make coverage` shows the rest.
.PHONY: pytest
pytest: $(DEV) ## Every test, with the coverage gate of weighbridge/rules
	$(BIN)/pytest --cov=weighbridge.rules --cov-branch --cov-fail-under=95 \
		--cov-report=term-missing:skip-covered

.PHONY: coverage
coverage: $(DEV) ## Coverage of everything, as a table
	$(BIN)/pytest --cov --cov-report=term-missing:skip-covered

.PHONY: bench
bench: $(DEV) ## Measure the sidecar beside an echo (needs h2load)
	$(BIN)/python -m bench.transport $(ARGS)

.PHONY: simulate
simulate: $(DEV) ## Run many seeds of the simulation (ARGS="--seeds 1000"; --seed N replays one)
	$(BIN)/python -m tests.simulation $(ARGS)

.PHONY: bench-catalogs
bench-catalogs: $(DEV) ## Measure changes of plans and customers (ARGS=--readme keeps the table)
	$(BIN)/python -m bench.catalogs $(ARGS)

.PHONY: bench-usage
bench-usage: $(DEV) ## Measure what stored usage costs (about three minutes)
	$(BIN)/python -m bench.usage $(ARGS)

.PHONY: bench-leases
bench-leases: $(DEV) ## Measure what leases cost (needs h2load; about four minutes)
	$(BIN)/python -m bench.leases $(ARGS)

.PHONY: clean
clean: ## Remove what can be made again
	rm -rf $(VENV) build dist .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis \
		.import_linter_cache *.egg-info

$(PINNED): requirements-run.txt
	@[ -n "$(PYTHON)" ] || { echo "Weighbridge needs Python 3.11 or newer with its venv module;" \
		"none was found. Install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install -r requirements-run.txt
	@touch $@

$(RUN): pyproject.toml $(PINNED)
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): requirements-dev.txt $(RUN)
	@echo "Installing what tests and gates need ..."
	@$(PIP) install -r requirements-dev.txt
	@touch $@
