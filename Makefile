# `make run` takes a bare machine to a scored recogniser at mini scale; `make test` checks the toolkit.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
RECIPE := egs2/zipper12/asr1
INSTALLED := .venv/.installed
# one thread a process: the tests run in two processes
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 HF_HUB_OFFLINE=1

.PHONY: help run test setup lowest lint check clean clean-env

help:
	@echo "make run        set up, then run the recipe at mini scale to $(RECIPE)/RESULTS.md"
	@echo "make test       set up, then lint and test"
	@echo "make setup      make .venv with the pinned versions (PYTHON=... chooses the Python)"
	@echo "make lowest     make .venv-lowest with the lowest versions that setup.py allows; make test then checks them too"
	@echo "make check      print what is installed and whether it works"
	@echo "make lint       ruff and shellcheck"
	@echo "make clean      remove what the recipe wrote; make clean-env removes .venv and .venv-lowest"

run: $(INSTALLED)
	cd $(RECIPE) && ./run.sh --stage 0 --stop-stage 9 --benchmark ../../../benchmarks/make_run.md

test: lint
	$(TEST_ENV) .venv/bin/python -m pytest -n 2 --dist loadfile

setup: $(INSTALLED)

$(INSTALLED): requirements/constraints.txt setup.py $(wildcard tools/*.sh)
	tools/setup.sh

lowest:
	tools/make_lowest_env.sh

lint: $(INSTALLED)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	git ls-files '*.sh' 'utils/*' .ci/run | sort -u | xargs .venv/bin/shellcheck --external-sources

check: $(INSTALLED)
	.venv/bin/python tools/check_install.py

clean:
	rm -rf $(RECIPE)/data* $(RECIPE)/dump* $(RECIPE)/exp* $(RECIPE)/downloads $(RECIPE)/report.html $(RECIPE)/report_audio

clean-env:
	rm -rf .venv .venv-lowest
