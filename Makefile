# make help lists the commands. Without make, the README has the plain lines.
PYTHON ?= python3
BIN := .venv/bin
# One worker a core, each with one thread; a file's tests stay together.
ONE_THREAD := OMP_NUM_THREADS=1
WORKERS := -n auto --dist loadfile

.PHONY: help run setup setup-train setup-dev test test-all lint bench clean

help:  ## list these commands
	@sed -n 's/^\([a-z-]*\):.*##/\1:/p' Makefile | column -t -s:

run: setup  ## install what is missing, then serve on this machine only, without verification
	$(BIN)/python app.py --no-verify --tunnel none

setup: .venv/installed  ## install what talking and serving need
.venv/installed: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt
	@touch $@

setup-train: .venv/installed-train  ## install what training needs, too
.venv/installed-train: requirements-train.txt .venv/installed
	$(BIN)/python -m pip install --quiet -r requirements-train.txt
	@touch $@

setup-dev: .venv/installed-dev  ## install what tests, style and types need, too
.venv/installed-dev: requirements-dev.txt .venv/installed-train
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	@touch $@

test: setup-dev  ## the tests, without the slow ones
	$(ONE_THREAD) $(BIN)/python -m pytest -m "not slow" $(WORKERS)

test-all: setup-dev  ## all tests, with coverage
	$(ONE_THREAD) $(BIN)/python -m pytest $(WORKERS) --cov --cov-report=term:skip-covered

lint: setup-dev  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup  ## how fast it answers
	$(BIN)/python -m dialogue.bench
	$(BIN)/python -m skill.bench

clean:  ## remove what was installed
	rm -rf .venv
