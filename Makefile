# Every command of the project; `make help` lists them. Each does its own set-up and repeats only what changed.
#
# PYTHON=    the interpreter to build for and test with; each gets its own environment, wheel and cargo target
# ARGS=      more arguments for pytest, or for the program that a target runs
# TARGET=    where cargo builds, one folder per interpreter below it
# JOBS=      how many tests run at once, where they do
# PROFILE=   how the wheel is built: `release`, or `testing`, which takes a third of the time and checks for overflows

PYTHON ?= python3
TARGET ?= target
PROFILE ?= release
JOBS ?= 2
ARGS ?=

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help

# Two interpreters of one version (the system's and one's own) must not share an environment: hence the number.
IDENTIFY := import sys, zlib; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed"; \
	print(sys.implementation.cache_tag, format(zlib.crc32(sys.executable.encode()), "08x"), sep="-")
TAG := $(shell $(PYTHON) -c '$(IDENTIFY)')
NEEDS_PYTHON := $(filter-out help clean,$(or $(MAKECMDGOALS),help))
ifeq ($(and $(NEEDS_PYTHON),$(if $(TAG),,missing)),missing)
$(error PYTHON=$(PYTHON) is no Python 3.11 or newer)
endif

ENVIRONMENT := .venv/$(TAG)
WHEEL := $(ENVIRONMENT)/.wheel-$(PROFILE)
TOOLS := .venv/tools
PY := $(abspath $(ENVIRONMENT))/bin/python
PIP := $(TOOLS)/bin/python -m pip --quiet --disable-pip-version-check
RUFF := $(TOOLS)/bin/ruff
MYPY := $(PY) -m mypy --cache-dir .cache/mypy/$(TAG)
PYTEST := $(PY) -m pytest

export CARGO_TARGET_DIR := $(abspath $(TARGET))/$(TAG)
export PYO3_PYTHON := $(PY)
ECHO_CLIENT := --manifest-path benches/echo_client/Cargo.toml --target-dir $(abspath $(TARGET))/echo_client

# Folders are among the sources because a file that goes changes nothing but its folder.
SOURCES := Cargo.toml Cargo.lock pyproject.toml LICENSE README.md $(wildcard crates/*/Cargo.toml crates/*/build.rs) \
	$(shell find crates/*/src python \( -name __pycache__ -o -path python \) -prune -o \
		\( -type d -path 'crates/*' -o -name '*.rs' -o -name '*.py' -o -name '*.pyi' -o -name py.typed \) -print)

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F'\t' '{ printf "%-14s %s\n", $$1, $$2 }'

# ── The two commands of the README ─────────────────────────────────────────────────────────────────────────────────

.PHONY: demo
demo: $(ENVIRONMENT)/.demo $(WHEEL) ## Run the main job, examples/pages.py, under asyncio and under rasyncio
	$(PY) examples/demo.py $(ARGS)

.PHONY: test
test: lint test-rust test-py ## Everything that must pass

# ── Parts of `test` ────────────────────────────────────────────────────────────────────────────────────────────────

.PHONY: check
check: lint test-rust $(ENVIRONMENT)/.test $(WHEEL) ## What must pass before a commit: all but the long tests
	$(PYTEST) tests/tidy tests/typing tests/behaviour tests/examples $(ARGS)

.PHONY: lint
lint: lint-format lint-clippy lint-ruff lint-types ## Formatting, clippy, ruff, mypy; each alone too: lint-clippy ...

.PHONY: lint-format
lint-format: $(TOOLS)/.made
	cargo fmt --all --check
	cargo fmt --check --manifest-path benches/echo_client/Cargo.toml
	$(RUFF) format --check .

.PHONY: lint-clippy
lint-clippy: $(ENVIRONMENT)/.made
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --all-targets --locked $(ECHO_CLIENT) -- -D warnings

.PHONY: lint-ruff
lint-ruff: $(TOOLS)/.made
	$(RUFF) check .

# Folders of tests are checked one by one: pytest takes each as a program of its own, with its own `conftest`.
# Those of tests/typing are checked by its test, against the installed stubs.
.PHONY: lint-types
lint-types: $(ENVIRONMENT)/.test $(WHEEL)
	$(MYPY) python
	MYPYPATH=tests/ecosystem $(MYPY) examples
	MYPYPATH=tests $(MYPY) tests/*.py tests/behaviour
	for folder in conformance ecosystem examples faults foreign properties soak tidy; do \
		MYPYPATH=tests:tests/tidy $(MYPY) tests/$$folder; \
	done
	$(MYPY) tests/typing/test_types.py
	MYPYPATH=benches:tests/ecosystem $(MYPY) benches

.PHONY: test-rust
test-rust: $(ENVIRONMENT)/.made ## Tests of the core and of the load program of the benchmarks
	cargo test --locked --package rasyncio-core
	cargo test --locked $(ECHO_CLIENT)

.PHONY: test-py
test-py: $(if $(strip $(ARGS)),test-some,test-parallel test-alone) ## All tests in Python, or ARGS="tests/behaviour -k name"

.PHONY: test-some
test-some: $(ENVIRONMENT)/.test $(WHEEL)
	$(PYTEST) $(ARGS)

.PHONY: test-uring
test-uring: $(ENVIRONMENT)/.test $(WHEEL) ## Behaviour and faults on rings, if the kernel lets us have them
	@if refused=$$(RASYNCIO_BACKEND=uring $(PY) -c 'import rasyncio; rasyncio.new_event_loop().close()' 2>&1); then \
		RASYNCIO_BACKEND=uring $(PYTEST) -n $(JOBS) --implementation rasyncio tests/behaviour tests/faults $(ARGS); \
	else \
		echo "nothing is tested on rings: $${refused##*$$'\n'}"; \
	fi

# Those that watch memory, use every core by themselves, or start servers and measure time, run alone and last.
ALONE := tests/conformance tests/ecosystem tests/examples tests/soak benches
PARALLEL := $(filter-out $(ALONE) tests/__pycache__,$(patsubst %/,%,$(wildcard tests/*/)))

.PHONY: test-parallel
test-parallel: $(ENVIRONMENT)/.test $(WHEEL)
	$(PYTEST) -n $(JOBS) $(PARALLEL)

.PHONY: test-alone
test-alone: $(ENVIRONMENT)/.test $(ENVIRONMENT)/.rows $(WHEEL)
	$(PYTEST) $(ALONE)

.PHONY: conformance
conformance: $(ENVIRONMENT)/.test $(WHEEL) ## CPython's own test.test_asyncio on rasyncio: passed, failed, excluded
	$(PY) -m tests.conformance $(ARGS)

.PHONY: ecosystem
ecosystem: $(ENVIRONMENT)/.test $(WHEEL) ## Real clients and servers: aiohttp, aiomysql with MariaDB
	$(PYTEST) tests/ecosystem $(ARGS)

.PHONY: foreign
foreign: $(ENVIRONMENT)/.test $(WHEEL) ## The test suites of aiohttp, httpx and others on both; ARGS="anyio -x"
	$(PY) -m tests.foreign --folder .cache/foreign/$(TAG) --pip $(TOOLS)/bin/python $(ARGS)

.PHONY: soak
soak: $(ENVIRONMENT)/.test $(WHEEL) ## Memory and descriptors stay flat; RASYNCIO_SOAK=10 does ten times as much
	$(PYTEST) tests/soak $(ARGS)

.PHONY: programs
programs: $(ENVIRONMENT)/.test $(WHEEL) ## 100 000 random programs under a virtual clock, on asyncio and on rasyncio
	RASYNCIO_PROGRAMS=$${RASYNCIO_PROGRAMS:-100000} $(PYTEST) -n $(JOBS) tests/properties/test_virtual_time.py $(ARGS)

.PHONY: loom
loom: ## The wake-up under every interleaving of two threads
	RUSTFLAGS="--cfg loom" cargo test --locked --release --package rasyncio-core --test loom \
		--target-dir $(abspath $(TARGET))/loom

.PHONY: sanitize
sanitize: ## The tests of the core under AddressSanitizer, leaks included
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo test --locked --package rasyncio-core --lib --tests \
		--target "$$(rustc -vV | sed -n 's/^host: //p')" --target-dir $(abspath $(TARGET))/sanitize

# ── Benchmarks ─────────────────────────────────────────────────────────────────────────────────────────────────────

.PHONY: bench
bench: $(ENVIRONMENT)/.rivals $(ENVIRONMENT)/.rows $(WHEEL) ## Compare with asyncio, uvloop, rloop, rsloop, zuvloop; ARGS="sleep0 --rounds 3"
	$(PY) benches/compare.py $(ARGS)

.PHONY: bench-rust
bench-rust: ## Benchmarks of the core alone
	cargo bench --locked --package rasyncio-core $(ARGS)

# ── Building ───────────────────────────────────────────────────────────────────────────────────────────────────────

.PHONY: build
build: $(WHEEL) ## Build the release wheel into dist/ and install it into the environment
	@echo "$(ENVIRONMENT)/bin/python has rasyncio; the wheel is in dist/"

.PHONY: setup
setup: $(ENVIRONMENT)/.test $(WHEEL) ## Prepare the environment of PYTHON for tests
	@echo "$(ENVIRONMENT)/bin/python"

.PHONY: clean
clean: ## Remove everything that was built or downloaded here
	rm -rf .venv .cache dist target .mypy_cache .ruff_cache .pytest_cache .hypothesis

# pip lives in the tools' environment and installs into the others, so an interpreter without pip will do.
$(TOOLS)/.made: requirements/tools.txt
	for python in "$(PYTHON)" python3; do \
		if "$$python" -m venv --clear $(TOOLS) >/dev/null; then break; fi; \
	done
	$(TOOLS)/bin/python -m pip --version >/dev/null || { \
		echo "neither $(PYTHON) nor python3 can make an environment with pip (Debian: apt-get install python3-venv)" >&2; \
		exit 1; }
	$(TOOLS)/bin/python -m pip --quiet --disable-pip-version-check install -r $<
	touch $@

$(ENVIRONMENT)/.made: $(TOOLS)/.made
	test -x $(PY) || $(PYTHON) -m venv --without-pip $(ENVIRONMENT)
	touch $@

$(ENVIRONMENT)/.demo: tests/ecosystem/requirements.txt $(ENVIRONMENT)/.made
	$(PIP) --python $(PY) install -r $<
	touch $@

$(ENVIRONMENT)/.test: requirements/test.txt tests/ecosystem/requirements.txt $(ENVIRONMENT)/.made
	$(PIP) --python $(PY) install -r $<
	touch $@

# One by one: not every rival, and not every package that a row needs, has a wheel for every Python.
$(ENVIRONMENT)/.rivals: benches/requirements.txt $(ENVIRONMENT)/.made
$(ENVIRONMENT)/.rows: benches/requirements-rows.txt $(ENVIRONMENT)/.made
$(ENVIRONMENT)/.rivals $(ENVIRONMENT)/.rows:
	grep -v '^#' $< | while read -r package; do \
		$(PIP) --python $(PY) install --only-binary :all: "$$package" || echo "$$package: not for this Python"; \
	done
	touch $@

# One profile's wheel takes the place of the other's.
$(WHEEL): $(SOURCES) $(ENVIRONMENT)/.made
	rm -rf $(ENVIRONMENT)/wheel $(ENVIRONMENT)/.wheel-*
	$(TOOLS)/bin/maturin build --profile $(PROFILE) --locked --quiet --interpreter $(PY) --out $(ENVIRONMENT)/wheel
	$(PIP) --python $(PY) install --force-reinstall --no-deps $(ENVIRONMENT)/wheel/*.whl
	if [ $(PROFILE) = release ]; then mkdir -p dist && cp $(ENVIRONMENT)/wheel/*.whl dist/; fi
	touch $@
