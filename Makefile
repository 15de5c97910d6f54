# Set-up, demo and tests in a virtual environment of the project's own.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
QUIET := -q --disable-pip-version-check --no-compile # a module is compiled when it is first imported
PYTHONS ?= 3.11 3.12 3.13
TESTS ?=
# One worker more than there are processors: while one waits, the others work.
RUN := -q -n $(shell expr $$(nproc) + 1) --dist loadscope --no-loadscope-reorder
export PYTHONDONTWRITEBYTECODE := # else every process that a test starts would compile what it imports

.PHONY: demo live-demo interop test test-ci test-release test-conditions test-pythons lint docs lock clean

demo: $(VENV)/runtime
	$(BIN)/ewmalab backtest --start 2026-02-02 --days 7 --feed simulated --name demo

# Feed server, updater, miner and a real validator's client: 3 simulated hours at 60 times the speed.
live-demo: $(VENV)/runtime interop
	$(BIN)/python benchmarks/live_demo.py --hours 3 --speed 60

interop: .venv-interop/ready

test: $(VENV)/dev
	$(BIN)/python -m pytest $(RUN) $(TESTS)

# The tests under each of these Pythons that is found, in an environment of its own; says which are not found.
test-pythons:
	.ci/pythons $(PYTHONS)

# Whole commands and processes, kills, and the many cases of some tests: what takes a developer's time.
test-ci: $(VENV)/dev
	$(BIN)/python -m pytest $(RUN) -m "ci and not slow and not release" $(TESTS)

# What a release must pass beside these: stacks of processes in real time, notebooks, all examples of properties.
test-release: $(VENV)/dev
	$(BIN)/python -m pytest $(RUN) --hypothesis-profile all -m "(release or hypothesis) and not slow" $(TESTS)

# The tests in random order and one process, and at moments that the calendar makes awkward: two at a time.
MOMENTS ?= 2028-02-29T23:59:00+00:00 2026-10-25T00:59:00+00:00 2026-11-01T05:59:00+00:00
test-conditions: $(VENV)/dev
	printf '%s\n' --random-order-bucket=module $(addprefix --clock=,$(MOMENTS)) | \
		xargs -P 2 -I CONDITION $(BIN)/python -m pytest -q -p no:cacheprovider CONDITION $(TESTS)

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site, in docs/_build; warnings, a broken link among them, are errors.
docs: $(VENV)/dev
	$(BIN)/python docs/generate.py --check
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/runtime: requirements.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install $(QUIET) -r requirements.txt
	$(BIN)/python -m pip install $(QUIET) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev: requirements-dev.txt $(VENV)/runtime
	$(BIN)/python -m pip install $(QUIET) -r requirements-dev.txt
	@touch $@

# Validators run bittensor 10, which cannot be installed beside version 11: it gets an environment of its own.
.venv-interop/ready: requirements-interop.txt
	$(PYTHON) -m venv .venv-interop
	.venv-interop/bin/python -m pip install $(QUIET) -r requirements-interop.txt
	@touch $@

# Pins are plain name==version lines; run after changing the dependencies in pyproject.toml.
PINS := --quiet --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	--no-annotate --no-header --allow-unsafe --upgrade
lock: $(VENV)/dev
	$(BIN)/pip-compile $(PINS) --extra build --extra live --unsafe-package pip -o requirements.txt pyproject.toml
	$(BIN)/pip-compile $(PINS) --extra build --extra live --extra dev --unsafe-package pip -o requirements-dev.txt pyproject.toml

clean:
	rm -rf .venv .venv-interop .venv-3.*
