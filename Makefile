# evolver: `make help` lists what there is to do. Everything runs in .venv, which `make install` makes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_FLAGS := --quiet --disable-pip-version-check --constraint constraints.txt
TEST_FLAGS ?= -n 2 --dist loadgroup
NEED_DATA := benchmarks/parity.py benchmarks/recipes.py

.PHONY: help install install-bench demo test test-slow lint format docs bench clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "evolver needs Python 3.11 or newer; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip

$(VENV)/installed: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing evolver with PyTorch into $(VENV): a few minutes the first time."
	$(BIN)/pip install $(PIP_FLAGS) --editable '.[worker,dev]'
	@touch $@

install: $(VENV)/installed  ## make .venv with the worker and dev extras

install-bench: install  ## add the peers that benchmarks compare with
	$(BIN)/pip install $(PIP_FLAGS) '.[bench]'

demo: install  ## a real search on digits: two workers, half a minute, ends with a front and a picture
	@rm -rf demo.db demo.db-shm demo.db-wal demo.checkpoints demo.logs
	$(BIN)/evolver run demo --db sqlite:///demo.db --workers 2 \
		--dataset digits --space tiny --objectives error,params --recipe fast --epochs 10 \
		--population 12 --budget 60 --seed 1
	$(BIN)/evolver plot demo --db sqlite:///demo.db --output front.png

test: install  ## the tests, on SQLite and on a PostgreSQL that they start
	$(BIN)/python -m pytest $(TEST_FLAGS) -m "not slow"

test-slow: install  ## the tests that take longer: random kills, real training
	$(BIN)/python -m pytest $(TEST_FLAGS) -m slow

lint: install  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install  ## rewrite the sources in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install  ## the documentation as a site, in site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: install-bench  ## all benchmarks in their quick form; DATA_DIR=DIR for those that need Fashion-MNIST
	@for script in $(filter-out $(NEED_DATA),$(wildcard benchmarks/*.py)); do \
		echo "== $$script"; $(BIN)/python $$script --quick || exit 1; done
	@for script in $(if $(DATA_DIR),$(NEED_DATA)); do \
		echo "== $$script"; $(BIN)/python $$script --quick --data-dir $(DATA_DIR) || exit 1; done

clean:  ## remove .venv, caches and the demo's files
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist site
	rm -rf demo.db demo.db-shm demo.db-wal demo.checkpoints demo.logs front.png
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
