#!/usr/bin/env bash
# Create a virtual environment, even if Debian's python3-venv is not installed.
#
# Usage: tools/make_venv.sh PYTHON DIRECTORY
set -euo pipefail
. "$(dirname "$0")/../utils/log.sh"
python=$1
venv=$2

if "${python}" -c 'import venv, ensurepip' 2>/dev/null; then
    "${python}" -m venv "${venv}"
elif "${python}" -m virtualenv --version >/dev/null 2>&1; then
    "${python}" -m virtualenv --quiet "${venv}"
elif "${python}" -m pip --version >/dev/null 2>&1; then
    log "set-up: no venv module for ${python}; installing virtualenv from the package index"
    bootstrap=$(mktemp -d)
    trap 'rm -rf "${bootstrap}"' EXIT
    "${python}" -m pip install -qq --target "${bootstrap}" virtualenv
    PYTHONPATH=${bootstrap} "${python}" -m virtualenv --quiet "${venv}"
else
    die "${python} has neither venv, virtualenv nor pip: on Debian or Ubuntu, apt-get install python3-venv"
fi
