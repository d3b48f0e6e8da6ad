#!/usr/bin/env bash
# Make the project's own environment, .venv, with the versions of requirements/constraints.txt.
#
# Usage: tools/setup.sh        (the Makefile calls it when .venv is missing or the pinned versions changed)
#   PYTHON=python3.12 tools/setup.sh      use this Python; without it, see tools/find_python.sh
# No root, no GPU needed. Ends with tools/check_install.py.
set -euo pipefail
cd "$(dirname "$0")/.."
. utils/log.sh
export PIP_CONSTRAINT=$PWD/requirements/constraints.txt

if [ ! -x .venv/bin/pip ]; then
    python=$(tools/find_python.sh)
    log "set-up: .venv with $("${python}" --version) ($(command -v "${python}"))"
    rm -rf .venv
    tools/make_venv.sh "${python}" .venv
fi
tools/install_torch.sh .venv/bin/python
log "set-up: the toolkit and what it needs, at the pinned versions"
.venv/bin/python -m pip install -qq --editable '.[espnet,serve,dev]'
tools/install_espnet.sh .venv/bin/python
tools/install_vocabularies.sh .venv/bin/python
log "set-up: check that every component works"
.venv/bin/python tools/check_install.py
log "set-up: done in ${SECONDS} s"
echo "${SECONDS}" >.venv/.installed
