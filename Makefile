# `make demo` and `make test` need Python 3.11 or later and make, nothing else: the first run
# creates .venv and installs into it, later runs start at once. `make` alone lists the targets.
#
#   make test JOBS=4 PYTEST_ARGS="-k wgan"
#   make test PYTHON=python3.13 VENV=.venv-3.13                          another Python
#   make test CONSTRAINTS=constraints-oldest.txt VENV=.venv-oldest       the lowest versions
#   make test CONSTRAINTS= VENV=.venv-newest                             the newest

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
JOBS ?= 2
PYTEST_ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PIN := $(if $(CONSTRAINTS),-c $(CONSTRAINTS))
TORCH := $(or $(if $(CONSTRAINTS),$(shell sed -n 's/^\(torch==[^ ;\#]*\).*/\1/p' $(CONSTRAINTS) 2>/dev/null)),torch)

# What is installed, by the name of the constraints it was installed with.
WITH := $(subst /,_,$(or $(CONSTRAINTS),newest))
READY := $(VENV)/.installed-$(WITH)
READY_DEV := $(VENV)/.installed-dev-$(WITH)
READY_DOCS := $(VENV)/.installed-docs-$(WITH)

# The nets are tiny: one thread each is fastest, and more threads than cores are slow tenfold.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PYTEST := $(ONE_THREAD) MPLBACKEND=Agg $(BIN)/python -m pytest

.PHONY: help demo test test-slow test-gpu lint format hooks bench docs dist dist-check install clean
.DELETE_ON_ERROR:

help: ## list the targets (this)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## fit handwritten digits, draw some, print the scores
	$(BIN)/python docs/examples/digits.py

test: $(READY) ## all tests but those marked slow or gpu
	$(PYTEST) -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

test-slow: $(READY) ## the tests marked slow
	$(PYTEST) -n $(JOBS) --dist worksteal -m "slow and not gpu" $(PYTEST_ARGS)

test-gpu: $(READY) ## the tests that need a CUDA device
	$(PYTEST) -m gpu $(PYTEST_ARGS)

lint: $(READY_DEV) ## ruff check, ruff format --check and mypy: all three, whatever the first says
	@failed=0; \
	for check in "ruff check ." "ruff format --check ." "mypy"; do \
	    echo "$$check"; $(BIN)/$$check || failed=1; \
	done; \
	exit $$failed

format: $(READY_DEV) ## put right what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

hooks: $(READY_DEV) ## have git run the checks of .pre-commit-config.yaml before each commit
	$(BIN)/pre-commit install

bench: ## tell which benchmarks there are
	@echo 'The rivals: $(BIN)/pip install $(PIN) -e ".[benchmarks]"   Then:'
	@for file in benchmarks/[a-z]*.py; do \
	    test -f "$$file" || { echo "  (no benchmark yet)"; break; }; \
	    printf '  %-52s %s\n' "$(BIN)/python $$file" "$$(sed -n '1s/^r*"""\([^"]*\).*/\1/p' "$$file")"; \
	done

docs: $(READY_DOCS) ## the site, in docs/_build/html; SMOKE=1 cuts the trainings of its gallery
	@test -e docs/_build/.$(or $(SMOKE),full) || \
	    { rm -rf docs/_build docs/auto_gallery; mkdir -p docs/_build; touch docs/_build/.$(or $(SMOKE),full); }
	$(ONE_THREAD) SMOKE=$(SMOKE) $(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	$(BIN)/python docs/check_links.py docs/_build/html

dist: $(READY_DEV) ## wheel and sdist, in dist/
	rm -rf build dist
	$(BIN)/python -m build

dist-check: ## install what `make dist` built into empty environments, and use it there
	@for file in dist/*.whl dist/*.tar.gz; do \
	    test -f "$$file" || { echo "$$file: not there; run make dist first"; exit 1; }; \
	    rm -rf build/empty && $(PYTHON) -m venv build/empty && \
	    build/empty/bin/python -m pip --disable-pip-version-check install --quiet $(TORCH) $(PIN) && \
	    build/empty/bin/python -m pip --disable-pip-version-check install --quiet $(PIN) "$$file" && \
	    build/empty/bin/python -I tests/smoke.py || exit 1; \
	done

install: $(READY) ## only create the environment

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "sklsdm needs Python 3.11 or later; $(PYTHON) is: $$($(PYTHON) --version 2>&1). Try make PYTHON=python3.12"; exit 1; }
	@echo "Creating $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV) || \
	    { rm -rf $(VENV); echo "$(PYTHON) -m venv failed (on Debian and Ubuntu: apt install python3-venv)"; exit 1; }

# torch first and alone, so that the build pip finds for exactly this request (say one for CPUs)
# is in place before another package asks for any torch.
$(READY): pyproject.toml setup.py $(CONSTRAINTS) | $(BIN)/python
	@echo "Installing into $(VENV): once, some minutes"
	$(PIP) install $(TORCH) $(PIN)
	$(PIP) install --quiet $(PIN) -e ".[test,plot]"
	@rm -f $(VENV)/.installed-*
	@touch $@

$(READY_DEV): $(READY)
	$(PIP) install --quiet $(PIN) -e ".[dev]"
	@touch $@

$(READY_DOCS): $(READY)
	$(PIP) install --quiet $(PIN) -e ".[docs]"
	@touch $@

clean: ## remove what make made, environments too
	rm -rf docs/_build docs/auto_gallery docs/generated docs/sg_execution_times.rst
	rm -rf $(VENV) .venv-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find sklsdm tests docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
