# Every command a developer needs. Assumes git, make and Python >= 3.11; brings uv itself.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:

CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/geopod
UV_VERSION := 0.13.9
UV_HOME := $(CACHE)/uv-$(UV_VERSION)
UV := $(or $(shell command -v uv 2>/dev/null),$(UV_HOME)/bin/uv)
RUN := $(UV) run --frozen
GENERATED := crds helm/geopod/files/crds
# Where it is set, every process would compile pandas anew: 1.5 s of a processor instead of 0.5.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## Print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

$(UV_HOME)/bin/uv:
	@python3 -m venv $(UV_HOME) && $(UV_HOME)/bin/python -m pip install --quiet uv==$(UV_VERSION) || {
	  rm -rf $(UV_HOME); echo "uv is missing and could not be installed: python3 -m venv needs Debian's python3-venv" >&2; exit 1; }

.PHONY: setup
setup: $(UV) ## Install everything a developer needs into .venv
	@$(UV) sync --frozen --quiet

.PHONY: demo
demo: $(UV) ## The main job on this machine: four nodes over real layers, with a picture
	@$(RUN) --no-default-groups --group demo python examples/demo.py

.PHONY: test
test: setup lint verify ## Everything that proves geopod, on this machine and on a real Kubernetes
	@$(RUN) pytest -n 2 tests/unit tests/conformance tests/operator_shell
	$(MAKE) --no-print-directory test-cluster

.PHONY: lint
lint: setup ## ruff, mypy, import contracts
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy
	@$(RUN) lint-imports --no-cache

.PHONY: generate
generate: setup ## Write crds/ and the chart's copies from geopod.api
	@$(RUN) geopod crds $(GENERATED:%=--into %)

.PHONY: verify
verify: generate ## Fail if a generated file differs from its source
	@git add --intent-to-add $(GENERATED)
	@git diff --exit-code -- $(GENERATED)
	@$(RUN) python helm/generate.py --check

.PHONY: docs
docs: setup ## Build the documentation into docs/_build/html; a warning is an error
	@$(RUN) python -m sphinx -q -E -W --keep-going -b html -d docs/_build/doctrees docs docs/_build/html
	@echo "docs/_build/html/index.html"

.PHONY: docs-links
docs-links: setup ## Ask the other hosts that the documentation links to; needs the network, no part of CI
	@$(RUN) python -m sphinx -q -E -b linkcheck -d docs/_build/links-tree docs docs/_build/links

.PHONY: screenshots
screenshots: setup ## Make docs/notebook.png and docs/terminal.svg anew (needs a headless Chromium)
	@$(RUN) python docs/screenshots.py

.PHONY: bench
bench: $(UV) $(if $(filter cluster,$(LEVEL)),cluster-packages) ## geopod beside dask, ray and Lithops, in one run; LEVEL=cluster: beside bare Kubernetes; SHORT=1
	@PYTHONPATH=tests $(RUN) --group bench python -m bench $(QUESTIONS) $(if $(LEVEL),--level $(LEVEL)) $(if $(SHORT),--short) $(if $(WRITE),--write $(WRITE))

include tests/cluster/cluster.mk helm/chart.mk
