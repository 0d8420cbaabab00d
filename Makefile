# Everything runs in .venv. A stamp records each set of extras installed there, so that only the first run, or one after a
# change of pyproject.toml, pays for pip.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
WORKERS ?= 2
# Options of the benchmarks: BENCH="--quick --peer jax=<python>"
BENCH ?=

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test lint format bench clean
.DEFAULT_GOAL := test

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[samples,viz]'
	$(BIN)/python -m compileall -q graphflow compiler runtime  # as pip does for all that is not editable
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

demo: $(VENV)/.installed-demo
	$(BIN)/python samples/digits_mlp.py

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n $(WORKERS) -q

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-demo
	$(BIN)/python benchmarks/run.py $(BENCH)

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis digits*.dot digits*.svg
	find $(wildcard graphflow compiler runtime tests samples benchmarks) -name __pycache__ -type d -prune -exec rm -rf {} +
