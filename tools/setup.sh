#!/usr/bin/env bash
# Create the environment .venv with the versions pinned in requirements/constraints.txt.
#
# Usage: tools/setup.sh        (called by the Makefile if .venv is missing or the pinned versions changed)
#   PYTHON=python3.12 tools/setup.sh      use this Python; the default is chosen by tools/find_python.sh
# Needs neither root nor a GPU. Finally runs tools/check_install.py.
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
log "set-up: the toolkit and its requirements, at the pinned versions"
.venv/bin/python -m pip install -qq --editable '.[espnet,serve,dev]'
tools/install_espnet.sh .venv/bin/python
tools/install_vocabularies.sh .venv/bin/python
log "set-up: checking every component"
.venv/bin/python tools/check_install.py
log "set-up: done in ${SECONDS} s"
echo "${SECONDS}" >.venv/.installed
