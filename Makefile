# make setup | demo | test | test-loaded | test-manifest | chaos | check | docs | stubs | bench | clean.   `make -n <target>` shows what it would do.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.installed-docs
# The pins with the hashes of their files for x86-64 Linux; on another platform: make setup PINNED=requirements, which installs without hashes.
PINNED ?= requirements/hashed
PINS := requirements/build.txt requirements/cpu.txt requirements/dev.txt $(PINNED)/build.txt $(PINNED)/cpu.txt $(PINNED)/dev.txt
TORCH := $(shell sed -n 's/^torch==/torch==/p' requirements/cpu.txt)
PROTOS := rewards/service/v1/reward actors/control/v1/control
PYTORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
PIP_INSTALL := $(PIP) install -qq --no-deps
RUNS ?= 4
SEED ?= 0
MINUTES ?= $(shell echo $$((5 * $(RUNS))))
# The first interpreter that runs and has the right version; `make setup PYTHON=/path/to/python` overrides it.
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	"$$p" -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && { echo "$$p"; break; }; done)

.PHONY: help setup demo test test-loaded test-manifest chaos check docs stubs bench clean

help:
	@echo "make setup   create $(VENV) from nothing with the pinned requirements (a few minutes; nothing to do when up to date)"
	@echo "make demo    train the starter model through all three phases into runs/starter (continues there if interrupted)"
	@echo "make test    all tests"
	@echo "make test-loaded     all tests beside busy processes, two a core: nothing may fail because the machine is slow"
	@echo "make test-manifest   installs Ray's job server and runs the rendered RayJob of cpu-smoke on local Ray nodes, with a lost head"
	@echo "make chaos   real GRPO runs under seeded faults, RUNS=4 SEED=0 MINUTES=20 (5 a run) JSON=chaos.json (docs/chaos.md)"
	@echo "make check   formatting, lint, types, layers, pins, manifests, proto"
	@echo "make docs    the documentation as a site in build/site; a warning is an error, a broken link too"
	@echo "make stubs   Python stubs of the gRPC services from their protos, if the change breaks no client"
	@echo "make bench   every benchmark; JSON into runs/bench"
	@echo "make clean   remove $(VENV), caches and builds (runs/ is kept)"
	@echo "examples:"
	@echo "  make setup PYTHON=/usr/bin/python3.11"
	@echo "  make check test"
	@echo "  make chaos RUNS=2 SEED=7 JSON=chaos.json"
	@echo "  make -n demo                                 shows what it would do"

setup: $(STAMP)

$(STAMP): $(PINS) pyproject.toml
	@test -n "$(PYTHON)" || { echo "chemr needs Python 3.11 or 3.12 with the venv module, and none was found." \
		"Install one (Debian: apt-get install python3 python3-venv) or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@rm -f "$@"
	@if ! $(BIN)/python -c 'import pip' 2>/dev/null; then echo "creating $(VENV) with $(PYTHON)"; "$(PYTHON)" -m venv --clear "$(VENV)"; fi
	@echo "installing build tools"; $(PIP_INSTALL) -r $(PINNED)/build.txt
	@echo "installing $(TORCH)"; $(PIP_INSTALL) "$(TORCH)" || { \
		echo "the configured package index has no $(TORCH); trying PyTorch's own: $(PYTORCH_CPU_INDEX)"; \
		$(PIP_INSTALL) --index-url "$(PYTORCH_CPU_INDEX)" "$(TORCH)"; }
	@echo "installing the pinned requirements"; $(PIP_INSTALL) --no-build-isolation -r $(PINNED)/cpu.txt -r $(PINNED)/dev.txt
	@echo "installing chemr"; $(PIP_INSTALL) --no-build-isolation --editable .
	@$(BIN)/python requirements/check.py --installed
	@touch "$@"
	@echo "ready: $(BIN)/chemr"

demo: setup
	$(BIN)/chemr train experiment=starter run.name=starter run.resume=auto

test: setup
	$(BIN)/python -m pytest -n 2

test-loaded: setup
	$(BIN)/python -m tests.beside_busy_processes $(BIN)/python -m pytest -n 2

test-manifest: setup
	@echo "installing Ray's job server"; $(PIP_INSTALL) -r $(PINNED)/cluster.txt
	$(BIN)/python -m pytest -rs tests/e2e/test_rendered_manifest.py

chaos: setup
	$(BIN)/python -m tests.chaos --runs $(RUNS) --seed $(SEED) --minutes $(MINUTES) $(if $(JSON),--json $(JSON))
	CHEMR_CHAOS=1 $(BIN)/python -m pytest tests/chaos/test_two_hosts.py

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python requirements/check.py --installed
	$(BIN)/python -m chemr.cli k8s check --all k8s
	$(BIN)/hadolint k8s/Dockerfile k8s/Dockerfile.cpu
	$(BIN)/buf lint
	for proto in $(PROTOS); do $(BIN)/buf breaking --against $$proto.binpb; done

docs: $(DOCS_STAMP)
	$(BIN)/python -m sphinx -q -W --keep-going -b html -c docs/site docs build/site
	@echo "build/site/index.html"

$(DOCS_STAMP): $(STAMP) $(PINNED)/docs.txt
	@echo "installing what the documentation needs"; $(PIP_INSTALL) -r $(PINNED)/docs.txt
	@touch "$@"

stubs: setup
	$(BIN)/buf lint
	for proto in $(PROTOS); do \
		$(BIN)/buf breaking --against $$proto.binpb; \
		$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. \
			--descriptor_set_out=$$proto.binpb $$proto.proto; done

bench: setup
	@mkdir -p runs/bench
	@for file in $$(grep -l 'add_argument("--json"' benchmarks/*.py); do \
		echo "== $$file"; $(BIN)/python "$$file" --json "runs/bench/$$(basename "$$file" .py).json"; done

clean:
	rm -rf "$(VENV)" build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
