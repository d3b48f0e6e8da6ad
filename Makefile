# `make run` sets up a bare machine and runs the recipe at mini scale; `make test` checks the toolkit.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
RECIPE := egs2/zipper12/asr1
INSTALLED := .venv/.installed
# one thread per process: the tests run in two processes
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 HF_HUB_OFFLINE=1
PYTEST := $(TEST_ENV) .venv/bin/python -m pytest -n 2 --dist loadfile
# neither training, nor browsers, nor whole recipes
FAST := $(addprefix tests/,audio batching corpora datadir decode lid lora model plan prepare report score stats utils) \
	$(wildcard tests/test_*.py) --ignore tests/report/html
MKDOCS ?= .venv/bin/mkdocs

MINUTES ?= 1

.PHONY: help run times test test-fast setup lowest lint docs fuzz audit check clean clean-env

help:
	@echo "make run        set up, then run the recipe at mini scale; results in $(RECIPE)/RESULTS.md"
	@echo "make times      write the stage times of the last make run to benchmarks/make_run.md"
	@echo "make test       set up, lint, run all tests"
	@echo "make test-fast  run the tests that take less than two minutes together"
	@echo "make lint       ruff, mypy, shellcheck"
	@echo "make docs       build the documentation with the API reference in site/"
	@echo "make setup      create .venv with the pinned versions (PYTHON=... selects the Python)"
	@echo "make lowest     create .venv-lowest with the lowest versions that setup.py allows; make test then checks them too"
	@echo "make fuzz       feed damaged input of every kind for MINUTES=$(MINUTES), looking for tracebacks and hangs"
	@echo "make audit      list known vulnerabilities and licences of all installed packages (needs a network)"
	@echo "make check      check the installation"
	@echo "make clean      remove the output of the recipe; make clean-env removes the environments"

run: $(INSTALLED)
	cd $(RECIPE) && ./run.sh --stage 0 --stop-stage 9

times: $(INSTALLED)
	cd $(RECIPE) && ./run.sh --stage 9 --stop-stage 9 --benchmark ../../../benchmarks/make_run.md

test: lint
	$(PYTEST) --no-loadscope-reorder

test-fast: $(INSTALLED)
	$(PYTEST) -m "not slow" $(FAST)

setup: $(INSTALLED)

$(INSTALLED): requirements/constraints.txt setup.py $(wildcard tools/*.sh)
	tools/setup.sh

lowest:
	tools/make_lowest_env.sh

lint: $(INSTALLED)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	git ls-files '*.sh' 'utils/*' .ci/run | sort -u | xargs .venv/bin/shellcheck --external-sources

docs: $(INSTALLED)
	[[ -x $(MKDOCS) ]] || .venv/bin/python -m pip install -qq --constraint requirements/constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(MKDOCS) build --strict --quiet

fuzz: $(INSTALLED)
	$(TEST_ENV) .venv/bin/python -m tests.fuzz --minutes $(MINUTES)

audit: $(INSTALLED)
	[[ -x .venv-audit/bin/pip-audit ]] || .venv/bin/python -m venv .venv-audit
	.venv-audit/bin/pip install -q pip-audit==2.10.1 pip-licenses==5.5.5
	.venv-audit/bin/pip-licenses --python .venv/bin/python --order license --format markdown
	.venv-audit/bin/pip-audit --strict --progress-spinner off \
		--path "$$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

check: $(INSTALLED)
	.venv/bin/python tools/check_install.py

clean:
	rm -rf $(RECIPE)/data* $(RECIPE)/dump* $(RECIPE)/exp* $(RECIPE)/downloads $(RECIPE)/report.html $(RECIPE)/report_audio

clean-env:
	rm -rf .venv .venv-lowest .venv-audit site
