# Everything from a fresh clone: `make demo` and `make test` make .venv first.
# PYTHON chooses the interpreter (3.11 or later); PIP_ARGS goes to pip, for example
#   make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
# takes the CPU build of torch, which is ten times smaller. An interrupted demo goes on where it was; one that is
# finished is made anew with DEMO_ARGS=--force.

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
DEMO_ARGS ?=
INSTALLED := $(VENV)/.installed

.PHONY: install demo test lint clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet $(PIP_ARGS) -c constraints.txt -e '.[distill,dev]'
	touch $@

demo: install
	$(VENV)/bin/frami-edge demo $(DEMO_ARGS)

test: install
	$(VENV)/bin/python -m pytest -q -n auto --dist loadfile

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

clean:
	rm -rf $(VENV) build dist frami-edge-demo *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
