# `make demo` and `make test` each work alone on a fresh Linux machine with Python 3.11, 3.12 or 3.13.
VENV ?= .venv
BIN := $(VENV)/bin
# Three workers for two cores, each with whole files: most of a test's time is one core building TensorFlow graphs, and
# a fifth of it is waiting. tests/conftest.py says which files come first.
PARALLEL ?= -n 3 --dist loadfile --no-loadscope-reorder
# Every process that a test starts would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

# Without `compat` a folder named tf_ssgn in the working directory, such as the clone itself, would hide the package. What
# is installed is compiled on all cores: pip takes one.
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile --config-settings editable_mode=compat
COMPILE := $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true

.PHONY: demo test lint unit jax long everyday audit clean

demo: $(VENV)/.serve
	$(BIN)/python -m tf_ssgn.demo

test: $(VENV)/.dev
	$(MAKE) -j2 lint unit
	$(MAKE) jax

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(VENV)/.dev
	$(BIN)/python -m pytest $(PARALLEL)

# Models, losses and training know no backend but keras.ops: the same tests on JAX. It comes last and brings its own
# packages, since TensorFlow imports JAX, and Keras scikit-learn, where they are there, in every process that a test starts. Most of these tests
# is XLA compiling what runs once, so it need not be optimised. The weights of packages are read with NumPy alone.
jax: $(VENV)/.jax
	KERAS_BACKEND=jax XLA_FLAGS="--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true" $(BIN)/python -m pytest $(PARALLEL) tests/models tests/training tests/evaluation/test_scikit_learn.py --ignore tests/models/test_package_weights.py

# Tests that are too long for every change, at their full counts; one of them alone: make long ONLY=soak (or crash, fuzz,
# page, reload, resume, worker).
long: $(VENV)/.dev
	TF_SSGN_LONG=1 $(BIN)/python -m pytest tests/long -k "$(ONLY)"

# The shipped model, trained anew on the material beside the clone; prints the sha256 of its files, the same each time.
everyday: $(VENV)/.serve
	rm -rf bench-everyday/whole
	$(BIN)/python -m tf_ssgn.bench everyday --only ship

# Known vulnerabilities of what the service installs; asks a database on the internet.
audit: $(VENV)/.serve
	$(BIN)/pip install --quiet --disable-pip-version-check "pip-audit >=2.7"
	$(BIN)/pip-audit --local --skip-editable

# A stamp per set of extras, made anew when the dependencies change.
$(VENV)/.serve: setup.cfg pyproject.toml | $(BIN)/pip
	@echo "installing into $(VENV): about 2.5 GB, some minutes"
	$(INSTALL) -e ".[serve,web]"
	@$(COMPILE)
	touch $@

$(VENV)/.dev: setup.cfg pyproject.toml | $(BIN)/pip
	$(INSTALL) -e ".[serve,web,dev]"
	@$(COMPILE)
	touch $@ $(VENV)/.serve

$(VENV)/.jax: $(VENV)/.dev
	$(INSTALL) -e ".[jax]" "scikit-learn >=1.5"
	@$(COMPILE)
	touch $@

$(BIN)/pip:
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	  if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then \
	    echo "making $(VENV) with $$($$python --version)"; \
	    $$python -m venv $(VENV) && exit 0; \
	    echo "error: $$python cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 2; \
	  fi; done; \
	echo "error: no Python 3.11, 3.12 or 3.13 found; install one, or name it: make PYTHON=/path/to/python" >&2; exit 2

clean:
	rm -rf $(VENV) demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
