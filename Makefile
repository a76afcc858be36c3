# Two commands: `make demo` and `make test`. They need python3 (3.11 to 3.13), venv and make, nothing else.
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv
PIP_INSTALL := $(UV) pip install --quiet --python $(BIN)/python
export UV_PYTHON_DOWNLOADS := never
LOCK_FLAGS := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet

.PHONY: demo test up lint format lock bench page tools conformance soak policy-gate clean help

help:           ## what there is
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/'

demo: .venv/.runtime ## set up, then take 90 days of execution data through every capability
	@$(BIN)/mc demo

test: .venv/.development ## the tests that need PyPI only
	@$(BIN)/python -m pytest

up: .venv/.runtime ## database, Dagster UI and API on this machine, until Ctrl-C
	@$(BIN)/mc up

lint: .venv/.development ## ruff, mypy, import-linter
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: .venv/.development ## let ruff write what it can
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

policy-gate: .venv/.development ## our guard over policy/, and conftest where PATH or .tools/bin has it
	@PATH="$(CURDIR)/.tools/bin:$$PATH" $(BIN)/mc policy gate

lock: ## resolve the locks anew
	$(UV) pip compile --group build $(LOCK_FLAGS) --output-file requirements-build.lock
	$(UV) pip compile pyproject.toml $(LOCK_FLAGS) --output-file requirements.lock
	$(UV) pip compile pyproject.toml --group dev $(LOCK_FLAGS) --constraint requirements.lock --output-file requirements-dev.lock

bench: .venv/.development ## every benchmark, each against a rival or a limit of the same run
	@$(BIN)/python -m benchmarks

page: ## Cytoscape.js from npm, with its licence, for the page of the provenance graph
	@tools/page.sh

tools: ## real tools from Go modules into .tools/bin: opa, conftest, promtool, cosign, helm, etcd, kube-apiserver, fake-gcs-server
	@tools/build.sh

conformance: .venv/.development ## public corpora, foreign judges (make tools), and what is slow
	-@tools/build.sh
	@PATH="$(CURDIR)/.tools/bin:$$PATH" $(BIN)/python -m pytest -m '' --timeout 3600 --durations=15 mc_pipelines_tests/conformance
	@PATH="$(CURDIR)/.tools/bin:$$PATH" $(BIN)/python -m pytest -m 'tools or slow' --timeout 3600 --durations=15 --ignore mc_pipelines_tests/conformance

soak: .venv/.development ## long runs under load and kill -9
	@$(BIN)/python -m pytest -m slow --timeout 3600

clean: ## forget what this folder made: the venv, the embedded database, tools
	@-[ -x $(BIN)/mc ] && $(BIN)/mc db stop
	rm -rf .venv .mc .tools

# Set-up, in three steps that each run once a change.
.venv/.build: requirements-build.lock
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "make: needs Python 3.11 to 3.13, found " + sys.version.split()[0] + "; set PYTHON=python3.12")'
	@echo "set-up: virtual environment"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-build.lock
	@touch $@

.venv/.runtime: .venv/.build requirements.lock pyproject.toml
	@echo "set-up: packages of requirements.lock, compiled to byte code"
	@$(PIP_INSTALL) --require-hashes --compile-bytecode -r requirements.lock
	@$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m mc_pipelines.provenance.warm_up
	@touch $@

.venv/.development: .venv/.runtime requirements-dev.lock
	@echo "set-up: packages for development"
	@$(PIP_INSTALL) --require-hashes --compile-bytecode -r requirements-dev.lock
	@touch $@
