# Everything a developer or an operator does, one word each. Needs python3 (3.11 or newer) and make.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# One shell for all lines of a recipe, which ends at the first failure.
.ONESHELL:
# Where it is set, as images of containers do, every process compiles all modules anew: a second for each start.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
# Stamps: what is installed, and since when.
RUN := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
NODE := node_modules/.installed
# The web page: a folder that the build makes anew, with index.html written last of all.
UI := app/ui/dist/index.html
UI_SOURCES := $(shell find app/ui -path app/ui/node_modules -prune -o -path app/ui/dist -prune -o -type f -print 2>/dev/null)
# Where Node is: this machine's, if it is new enough, or one from a Python wheel (.ci/node.txt).
WITH_NODE := tools/with-node

PIP := $(BIN)/python -m pip --disable-pip-version-check
# --require-hashes: what is installed is what was locked, byte by byte, wherever it comes from.
INSTALL := $(PIP) install --quiet --require-hashes

.PHONY: help run test thorough check lint format docs ui proto bench bench-queries bench-series soak chaos upgrade fuzz lock sbom audit clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(RUN) $(UI) ## Start Kafka and Stretto here; DEMO=1 also sends traces
	@exec $(BIN)/stretto run

# lint first: it is soon done. mypy runs beside the tests.
test: $(DEV) ## Check, then run all tests, several at once; the logs are in build/tests
	@$(MAKE) --no-print-directory --jobs=3 --output-sync=target lint $(NODE) $(UI)
	$(BIN)/python -m tools.parallel_tests

thorough: $(DEV) ## Run the randomised tests with ten times as many examples (ARGS="tests/query")
	@TIMES_EXAMPLES=10 $(BIN)/python -m pytest --timeout=7200 $(or $(ARGS),tests/query tests/tables tests/agents tests/app)

check: lint ## Lint, formatting, types, import contracts, declared packages, spelling
	@$(BIN)/mypy

lint: $(DEV)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports
	@$(BIN)/deptry .
	@$(BIN)/codespell

format: $(DEV) ## Format the code and mend what ruff can mend
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

# --strict: a link, an anchor or a page without a place in docs/.nav.yml ends it.
docs: $(DEV) ## Make the generated parts of docs/ anew (settings, metrics …), then the site in build/site
	@$(BIN)/python -m tools.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	echo "The site is in build/site: open build/site/index.html"

ui: ## Build the web page (app/ui) that the server shows at /
	@rm -f $(UI)
	$(MAKE) --no-print-directory $(UI)
	test -e $(UI)

proto: $(DEV) ## Make *_pb2.py* anew from the .proto files
	@$(BIN)/python -m tools.proto

bench: $(DEV) ## Measure throughput, CPU, memory and size on disk
	@$(BIN)/python -m benchmarks $(ARGS)

bench-queries: $(DEV) ## Time queries and check their answers, recent and from blocks
	@$(BIN)/python -m benchmarks.queries $(ARGS)

bench-series: $(DEV) ## Measure how cost grows with spans, partitions, tenants, rate
	@$(BIN)/python -m benchmarks.series $(ARGS)

soak: $(DEV) ## 20 minutes of load while processes are killed; then count every span
	@$(BIN)/python -m benchmarks.soak $(ARGS)

CHAOS := $(BIN)/python -m benchmarks.soak --workers 2 --ask --partitions 8 --rate 5000 --every-s 30 --clocks 0,90

chaos: $(DEV) ## 25 minutes of load on two workers that are killed, stopped, exchanged, cut off, asked all the time; then count
	@$(CHAOS) --minutes 15 $(ARGS)
	$(CHAOS) --minutes 5 --network $(ARGS)
	$(CHAOS) --minutes 5 --brokers 3 --bucket $(ARGS)

upgrade: $(DEV) ## Upgrade processes one by one from FROM=<revision> and back, under load; then count every span
	@$(BIN)/python -m benchmarks.upgrade $(if $(FROM),--from $(FROM)) $(ARGS)

fuzz: $(DEV) ## Fuzz everything that reads bytes from outside, a minute for each target (ARGS="--minutes 30 --target …")
	@$(BIN)/python -m tests.fuzz $(ARGS)

sbom: $(DEV) ## What is shipped, as CycloneDX, in build/: of Python and of the web page
	@mkdir -p build
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --of JSON -o build/sbom-python.json requirements.txt
	$(WITH_NODE) npm --prefix app/ui sbom --package-lock-only --omit dev --sbom-format cyclonedx > build/sbom-page.json
	ls -l build/sbom-*.json

audit: $(DEV) ## Known vulnerabilities of what is locked; needs the network (exit status 2: it could not ask)
	@$(BIN)/python -m tools.audit

clean: ## Remove what was installed and built; not the data
	@rm -rf $(VENV) node_modules app/ui/node_modules app/ui/dist build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# PYTHON=/path/to/python chooses; otherwise the first that is new enough and can make environments.
$(BIN)/python:
	@python=
	@for candidate in $${PYTHON:-python3 python3.13 python3.12 python3.11}; do
	  if $$candidate -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
	    python=$$candidate; break
	  fi
	done
	if [[ -z $$python ]]; then
	  echo "Stretto needs Python 3.11 or newer with the module venv; found: $$($${PYTHON:-python3} --version 2>&1 || true)." >&2
	  echo "Install it (Debian, Ubuntu: the packages python3 and python3-venv), or run make PYTHON=/path/to/python." >&2
	  exit 1
	fi
	echo "Making $(VENV) with $$($$python --version)"
	$$python -m venv --clear $(VENV)

$(RUN): requirements.txt pyproject.toml | $(BIN)/python
	@echo "Installing what requirements.txt locks"
	$(INSTALL) --requirement requirements.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --no-index --editable .
	touch $@

$(DEV): requirements-dev.txt $(RUN)
	@echo "Installing what requirements-dev.txt locks"
	$(INSTALL) --requirement requirements-dev.txt
	touch $@

# Without Node and without a registry everything else works: the server says at / what is missing.
$(UI): $(UI_SOURCES)
	@installed=app/ui/node_modules/.installed
	if { [[ $$installed -nt app/ui/package-lock.json ]] \
	       || { echo "Installing what app/ui/package-lock.json locks" \
	              && $(WITH_NODE) npm --prefix app/ui ci --silent --fetch-retries=1 && touch $$installed; }; } \
	     && $(WITH_NODE) npm --prefix app/ui run --silent build; then
	  touch $@
	else
	  echo "The web page is not built: that needs npm's registry, and Node 20 or newer or its Python wheel." >&2
	  echo "Everything else works. make ui tries again." >&2
	fi

# Azurite, an Azure Blob Storage server, and clients that send spans, for the tests. Without npm they are skipped; where
# CI is set they fail.
$(NODE): package.json package-lock.json
	@if npm=$$(PATH="$(CURDIR)/build/node/bin:$$PATH" command -v npm); then
	  echo "Installing what package-lock.json locks"
	  PATH="$$(dirname "$$npm"):$$PATH" npm ci --silent
	  touch $@
	else
	  echo "npm is not there: tests that need Azurite or Node's clients are skipped (Debian, Ubuntu: apt-get install npm)" >&2
	fi

# No index and no folder of wheels is written down: whoever installs uses their own. PIP_FIND_LINKS is left out,
# since a wheel of this machine would bring hashes that nobody else can match.
COMPILE := env -u PIP_FIND_LINKS CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes \
	--allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options

lock: $(DEV) ## Lock anew: Python packages and Kafka's jars (UPGRADE=1: newest versions)
	@mkdir -p build
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"], sep="\n")' > build/dev.in
	$(COMPILE) $(if $(UPGRADE),--upgrade) --extra standalone --all-build-deps --output-file requirements.txt pyproject.toml
	$(COMPILE) $(if $(UPGRADE),--upgrade) --constraint requirements.txt --output-file requirements-dev.txt build/dev.in
	$(BIN)/python -m app.standalone.jars --lock
