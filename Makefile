# make demo: set everything up and run the whole pipeline on the bundled pairs.
# make test: set everything up and pass the tests of the first tier; its bar: 12 minutes on 2 idle cores.
# make test-all: those of the second; its bar: 40 minutes more.   make test-soak: those of the third.
# make check: lint, format, types.
# make docs: the documentation, into site/.
# make bench: the pursuit against its public peers; some 12 minutes on 2 cores.
# make bench-gpu: what one GPU gives, correctness first; under 8 minutes.
# make bench-evaluate: evaluation against dense codes, and by the number of pairs; some 45 minutes.
# make bench-embed: the pipeline against the bare encoder, and on a cluster that loses a node; some 20 minutes.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
# Page faults from fresh allocations can cost half of a training step on small machines.
export MALLOC_TRIM_THRESHOLD_ := 100000000000
export MALLOC_MMAP_MAX_ := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PYTEST := OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

.PHONY: demo test test-all test-soak check docs bench bench-gpu bench-embed bench-evaluate clean

demo: $(VENV)/installed
	$(VENV)/bin/isoenergy pipeline demo

test: $(VENV)/installed-test
	$(PYTEST)

test-all: $(VENV)/installed-test
	$(PYTEST) -m slow

test-soak: $(VENV)/installed-test
	$(PYTEST) -m soak -n 0

check: $(VENV)/installed-test
	$(VENV)/bin/ruff check --no-cache .
	$(VENV)/bin/ruff format --no-cache --check .
	$(VENV)/bin/mypy

docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict

bench: $(VENV)/installed-bench
	$(VENV)/bin/python -m tests.benchmarks.pursuit

bench-gpu: $(VENV)/installed-bench
	$(VENV)/bin/python -m tests.benchmarks.gpu

bench-embed: $(VENV)/installed-test
	$(VENV)/bin/python -m tests.benchmarks.extraction encoder
	$(VENV)/bin/python -m tests.benchmarks.extraction cluster

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --constraint constraints.txt pip setuptools
	$(VENV)/bin/python -m pip install --constraint constraints.txt --no-build-isolation --editable ".[all]"
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(VENV)/bin/python -m pip install --constraint constraints.txt --no-build-isolation --editable ".[all,test,check,docs]"
	touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(VENV)/bin/python -m pip install --constraint constraints.txt --no-build-isolation --editable ".[all,docs]"
	touch $@

$(VENV)/installed-bench: $(VENV)/installed
	$(VENV)/bin/python -m pip install --constraint constraints.txt --no-build-isolation --editable ".[all,bench]"
	touch $@

bench-evaluate: $(VENV)/installed-bench $(VENV)/installed-test
	$(VENV)/bin/python -m tests.benchmarks.evaluation dense
	$(VENV)/bin/python -m tests.benchmarks.evaluation scale
	$(VENV)/bin/python -m tests.benchmarks.evaluation memory

clean:
	rm -rf $(VENV) runs site
