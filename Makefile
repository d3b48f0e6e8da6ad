# `make run` takes a bare machine to a scored recogniser at mini scale; `make test` checks the toolkit.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
RECIPE := egs2/zipper12/asr1
INSTALLED := .venv/.installed
# one thread a process: the tests run in two processes
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 HF_HUB_OFFLINE=1

MINUTES ?= 1

.PHONY: help run test setup lowest lint fuzz audit check clean clean-env

help:
	@echo "make run        set up, then run the recipe at mini scale to $(RECIPE)/RESULTS.md"
	@echo "make test       set up, then lint and test"
	@echo "make setup      make .venv with the pinned versions (PYTHON=... chooses the Python)"
	@echo "make lowest     make .venv-lowest with the lowest versions that setup.py allows; make test then checks them too"
	@echo "make fuzz       spoil every kind of input for MINUTES=$(MINUTES) and look for tracebacks and hangs"
	@echo "make audit      known vulnerabilities and licences of all that is installed (asks the network)"
	@echo "make check      print what is installed and whether it works"
	@echo "make lint       ruff and shellcheck"
	@echo "make clean      remove what the recipe wrote; make clean-env removes the environments"

run: $(INSTALLED)
	cd $(RECIPE) && ./run.sh --stage 0 --stop-stage 9 --benchmark ../../../benchmarks/make_run.md

test: lint
	$(TEST_ENV) .venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

setup: $(INSTALLED)

$(INSTALLED): requirements/constraints.txt setup.py $(wildcard tools/*.sh)
	tools/setup.sh

lowest:
	tools/make_lowest_env.sh

lint: $(INSTALLED)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	git ls-files '*.sh' 'utils/*' .ci/run | sort -u | xargs .venv/bin/shellcheck --external-sources

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
	rm -rf .venv .venv-lowest .venv-audit
