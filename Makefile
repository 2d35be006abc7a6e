# `make help` lists what can be done. Everything that is needed is installed into .venv at first use.

SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet
PYTEST := $(PY) -m pytest -n 2 --dist loadfile

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: install
install: .venv/.runtime ## Create .venv and install what the worker needs (about 8 GB, some minutes, once)

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 is needed: apt-get install python3.11 python3.11-venv (Debian 12: python3 python3-venv)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Python 3.11 is needed, but $(PYTHON) is another version. Say which: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "The venv module is missing: apt-get install python3-venv"; exit 1; }

.venv/.runtime: requirements.txt requirements-nodeps.txt constraints.txt | .venv/bin/python
	@echo "Installing the worker into .venv (about 8 GB, some minutes, once) ..."
	@$(PIP) -r requirements.txt -c constraints.txt
	@$(PIP) --no-deps -r requirements-nodeps.txt
	@touch $@

.venv/.dev: requirements-dev.txt .venv/.runtime
	@echo "Installing what tests and lint need ..."
	@$(PIP) -r requirements-dev.txt -c constraints.txt
	@touch $@

.PHONY: demo
demo: .venv/.runtime ## See it work: a real recording through a real queue (make demo AUDIO=my.m4a for your own)
	@$(PY) -m worker demo $(if $(AUDIO),"$(AUDIO)") $(if $(ENGINE),--engine $(ENGINE))

.PHONY: test
test: .venv/.dev ## Run the tests (under ten minutes on two cores)
	@$(PYTEST) -m "not slow and not gpu"

.PHONY: test-all
test-all: .venv/.dev ## Run every test, the long ones included
	@HYPOTHESIS_PROFILE=long $(PYTEST) -m "not gpu"
	@$(PY) -m pytest -m gpu

.PHONY: lint
lint: .venv/.dev ## Check style and types
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

.PHONY: bench
bench: .venv/.dev ## Measure: ratios against the plain way, in one run (table, and bench.json)
	@$(PY) -m tests.benchmarks

.PHONY: soak
soak: .venv/.dev ## Torment a fleet for MINUTES=10 and count what is lost (SEED=1 WORKERS=4 MEETINGS=1200 FAULT_EVERY=5)
	@$(PY) -m tests.soak --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1) --workers $(or $(WORKERS),4) \
	  --meetings $(or $(MEETINGS),1200) --fault-every $(or $(FAULT_EVERY),5) --json soak.json

.PHONY: clean
clean: ## Remove the demo's data and caches (.venv stays)
	@rm -rf demo_data .pytest_cache .mypy_cache .ruff_cache .hypothesis bench.json soak.json
