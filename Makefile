# make demo | make test | make check: each sets everything up first, in a .venv of the project's own.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# idle OpenMP threads that spin take the processor from whoever shares the machine
export OMP_WAIT_POLICY := PASSIVE

RUN := runs/demo

.PHONY: help setup demo test check clean

help:
	@echo "make demo    set up, learn from made images, write $(RUN)/report.html"
	@echo "make test    set up, run the tests"
	@echo "make check   set up, format, lint, types, spelling and the tests"
	@echo "make clean   remove .venv and the caches"

setup: .venv/installed

# scripts/setup touches the stamp only when all of it went well
.venv/installed: pyproject.toml constraints.txt scripts/setup
	@scripts/setup

demo: setup
	.venv/bin/fewlabels demo --out $(RUN)
	@echo "The report is $(CURDIR)/$(RUN)/report.html: open it in a browser."

test: setup
	.venv/bin/pytest -n 2 -m "not slow and not gpu"

check: setup
	scripts/check

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
