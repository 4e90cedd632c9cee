# Every verb; `make help` lists them. Each does all of its own set-up.
.DEFAULT_GOAL := help
SHELL := /bin/bash -o pipefail

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
COUNT ?= 1000
UV_FLAGS := --python-version 3.11 --python-platform x86_64-manylinux_2_36 --generate-hashes --no-emit-index-url --no-header --quiet
# The environment of the caller must not lead a test to another cluster.
unexport KUBECONFIG
export PYTHONPATH := operator:tests
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help
help: ## List every verb.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{printf "  %-12s %s\n", $$1, $$2}'

$(INSTALLED): requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@echo "installing the tools into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt
	@touch $@

.PHONY: demo demo-down demo-logs demo-clean
demo: $(INSTALLED) ## From nothing to a model's answer: cluster, operator, SmolLM2, 100 requests at once.
	@$(BIN)/python -m demo

demo-down: $(INSTALLED) ## Stop the demo's cluster; built programs and images stay.
	@$(BIN)/python -m cluster stop --delete-data

demo-logs: $(INSTALLED) ## Collect the logs of the cluster and its pods into ./logs.
	@$(BIN)/python -m cluster logs logs

demo-clean: $(INSTALLED) ## Stop it, and remove built programs and images too.
	@$(BIN)/python -m cluster clean

.PHONY: check unit fmt
check: $(INSTALLED) ## Lint, types, drift, unit and golden tests: no cluster, no root.
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tools.generated --check
	@$(BIN)/python -m tools.crd_conventions crds/*.yaml
	@$(BIN)/python -m tools.registry_hosts
	@$(MAKE) --no-print-directory unit

unit: $(INSTALLED) ## Unit, golden, property and fault tests: seconds, no cluster.
	@$(BIN)/pytest -q -m "not e2e" tests

fmt: $(INSTALLED) ## Format, and mend what the linter can.
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

.PHONY: test test-full bench bench-serving
test: check ## Everything that CI runs: check, then the local cluster with the real runtime.
	@$(BIN)/python -m cluster images
	@$(BIN)/pytest --maxfail=5 -m "e2e and not full" tests

test-full: check ## Everything, also what takes long.
	@$(BIN)/python -m cluster images
	@$(BIN)/pytest --maxfail=5 -m e2e tests

bench: $(INSTALLED) ## 1,000 LLMDeployments (or COUNT=) on the local cluster: seconds, writes, memory.
	@$(BIN)/python -m cluster images
	@$(BIN)/python -m perf.many $(COUNT)

bench-serving: $(INSTALLED) ## Triton with our backend against vLLM's own server, whole answers and streams.
	@$(BIN)/python -m perf.serving_in_pod

.PHONY: generate golden lock arguments
generate: $(INSTALLED) ## Rewrite the CRD and the chart's runtime catalogue from the code.
	@$(BIN)/python -m tools.generated --write

golden: $(INSTALLED) ## Rewrite the golden files; read the diff.
	@$(BIN)/pytest -q tests/golden --update

arguments: $(INSTALLED) ## Rewrite what is known of each vLLM version from the published wheels (SOURCES= keeps what was read).
	@$(BIN)/python -m tools.engine_arguments $(SOURCES)

lock: ## Rewrite the hash-pinned requirements (needs uv).
	@cd requirements && uv pip compile $(UV_FLAGS) operator.in -o operator.txt
	@cd requirements && uv pip compile $(UV_FLAGS) model-tools.in -c operator.txt -o model-tools.txt
	@cd requirements && uv pip compile $(UV_FLAGS) dev.in -c operator.txt -c model-tools.txt -o dev.txt
	@cd images/runtime-cpu && uv pip compile $(UV_FLAGS) requirements.in --override overrides.txt -o requirements.txt
	@cd images/smollm2 && uv pip compile $(UV_FLAGS) --no-deps requirements.in -o requirements.txt
