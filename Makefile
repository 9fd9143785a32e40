# `make demo` and `make test` need Python 3.11 or later and make, nothing else: the first run
# creates .venv and installs into it, later runs start at once.
#
#   make test PYTHON=python3.13        another Python (`make clean` first where .venv exists)
#   make test CONSTRAINTS=other.txt    other versions; CONSTRAINTS= for the newest
#   make test JOBS=4 PYTEST_ARGS="-k wgan"

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

# The nets are tiny: one thread each is fastest, and more threads than cores are slow tenfold.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PYTEST := $(ONE_THREAD) MPLBACKEND=Agg $(BIN)/python -m pytest

.PHONY: help demo test test-slow test-gpu lint bench dist install clean
.DELETE_ON_ERROR:

help:
	@echo "make demo       fit handwritten digits, draw some, print the scores"
	@echo "make test       all tests but those marked slow or gpu"
	@echo "make test-slow  the slow ones        make test-gpu  those that need a CUDA device"
	@echo "make lint       ruff and mypy        make bench     the benchmarks there are"
	@echo "make dist       wheel and sdist      make clean     remove what make made"

demo: $(READY)
	$(BIN)/python docs/examples/digits.py

test: $(READY)
	$(PYTEST) -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

test-slow: $(READY)
	$(PYTEST) -n $(JOBS) --dist worksteal -m "slow and not gpu" $(PYTEST_ARGS)

test-gpu: $(READY)
	$(PYTEST) -m gpu $(PYTEST_ARGS)

lint: $(READY_DEV)
	@failed=0; $(BIN)/ruff check . || failed=1; $(BIN)/mypy || failed=1; exit $$failed

bench:
	@echo 'The rivals: $(BIN)/pip install $(PIN) -e ".[benchmarks]"   Then:'
	@for file in benchmarks/[a-z]*.py; do \
	    test -f "$$file" || { echo "  (no benchmark yet)"; break; }; \
	    printf '  %-52s %s\n' "$(BIN)/python $$file" "$$(sed -n '1s/^r*"""\([^"]*\).*/\1/p' "$$file")"; \
	done

dist: $(READY_DEV)
	rm -rf build dist
	$(BIN)/python -m build

install: $(READY)

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

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find sklsdm tests docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
