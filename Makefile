# `make` lists the targets. Everything is installed and written below this folder.

PYTHON ?= python3
BACKEND ?= jax
MODEL ?= taskprompter
DATASET ?= nyud
WORKERS ?= 2
ARGS ?=

# PyTorch's default Linux wheel brings gigabytes of CUDA libraries. To keep the environment small, let pip
# see PyTorch's index of CPU wheels: 2.13.0+cpu then wins over 2.13.0.
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make venv
TORCH ?= torch==2.13.0

# What `make test-next` tries besides Keras' nightlies. PyTorch's is named by TORCH, for its wheels are large.
CANDIDATES ?= jax tensorflow

VENV := .venv
NEXT := .venv-next
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Settings and caches of Keras and Matplotlib stay in the environment, whatever a home directory holds.
export KERAS_HOME ?= $(CURDIR)/$(VENV)/keras
export MPLCONFIGDIR ?= $(CURDIR)/$(VENV)/matplotlib
export TF_CPP_MIN_LOG_LEVEL ?= 2
# Every worker of the tests, and every script that they start, would compile all of the package and of the tests again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help venv train test test-jax test-tensorflow test-torch test-next lint format clean

help: ## List the targets
	@echo "Usage: make <target>"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

venv: $(INSTALLED) ## Install everything into .venv (PYTHON=python3, TORCH=torch==2.13.0)

# PyTorch comes first and on its own, so that nothing after it picks another build.
$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "keras_mtl needs Python 3.11 to 3.13, $(PYTHON) is $$($(PYTHON) --version 2>&1); name another: make venv PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --editable ".[jax,tensorflow,data,evaluation,weights,export,exr,tuning,dev]"
	@touch $@

train: $(INSTALLED) ## Train on generated scenes (MODEL=taskprompter|tpanet|baseline and others that --help names, DATASET=nyud|pascal_context|cityscapes3d, BACKEND=jax|tensorflow|torch, ARGS="--help")
	KERAS_BACKEND=$(BACKEND) $(BIN)/python examples/train_$(DATASET).py --model $(MODEL) $(ARGS)

test: lint test-jax test-tensorflow test-torch ## Lint, then the tests on every backend

# One thread a worker, so that the workers do not fight over the cores (NPROC is XLA's thread pool), and
# code that XLA compiles quickly rather than code that runs quickly: the networks are tiny. A file's tests share
# networks and compiled operations, so that they stay with one worker. JAX 0.12 stops at the second flag of XLA, which it
# no longer knows.
EMITTERS := from importlib.metadata import version as v; \
	print('--xla_cpu_use_fusion_emitters=false' * (v('jaxlib') < '0.11'))
QUICKLY = OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 NPROC=1 \
	XLA_FLAGS="--xla_backend_optimization_level=0 $$($(1)/python -c "$(EMITTERS)")"

test-jax: ## The tests on JAX (WORKERS=2, ARGS="-k name")
test-tensorflow: ## The tests on TensorFlow
test-torch: ## The tests on PyTorch
test-jax test-tensorflow test-torch: test-%: $(INSTALLED)
	@echo "=== pytest on the $* backend ==="
	@$(call QUICKLY,$(BIN)) KERAS_BACKEND=$* $(BIN)/pytest -n $(WORKERS) --dist loadfile $(ARGS)

# keras-nightly and keras lie in the same folder: both go (a candidate of TensorFlow's has brought the nightly already)
# before one comes. pip says that the versions are not those that keras-hub and this package ask for, which is the point.
# tensorflow-text, which keras-hub does without, loads with one version of TensorFlow and breaks the import with others.
test-next: ## The tests with nightlies and release candidates, in .venv-next (BACKEND=jax, TORCH=torch==2.15.0, CANDIDATES="jax tensorflow")
	$(PYTHON) -m venv --clear $(NEXT)
	$(NEXT)/bin/python -m pip install --quiet "$(TORCH)"
	$(NEXT)/bin/python -m pip install --quiet --editable ".[jax,tensorflow,data,evaluation,weights,export,exr,tuning,dev]"
	$(NEXT)/bin/python -m pip install --quiet --pre --upgrade $(CANDIDATES)
	$(NEXT)/bin/python -m pip uninstall --quiet --yes keras keras-nightly keras-hub keras-hub-nightly tensorflow-text
	$(NEXT)/bin/python -m pip install --quiet --pre --no-deps keras-nightly keras-hub-nightly
	@echo "=== pytest on the $(BACKEND) backend, with the libraries of tomorrow ==="
	@$(NEXT)/bin/python -m pip list 2>/dev/null | grep -i -E '^(keras|jax|tensorflow|torch)'
	@$(call QUICKLY,$(NEXT)/bin) KERAS_BACKEND=$(BACKEND) $(NEXT)/bin/pytest -n $(WORKERS) --dist loadfile $(ARGS)

lint: $(INSTALLED) ## Check style, formatting, directions of imports and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

format: $(INSTALLED) ## Fix style and formatting in place
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove caches and build output (.venv, .venv-next and runs/ stay)
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find . \( -path ./$(VENV) -o -path ./$(NEXT) \) -prune -o -type d -name __pycache__ -exec rm -rf {} +
