#!/usr/bin/env bash
# Create .venv-lowest with the lowest Python found and the lowest versions that setup.py allows.
#
# Usage: tools/make_lowest_env.sh      (make lowest)
#   PYTHON=python3.11 tools/make_lowest_env.sh      use this Python, 3.10 to 3.12 (numpy 2.0 has no wheel for 3.13)
# Installs the CPU build of torch if pip finds it, otherwise the standard build (5 GB). Prints the installed versions.
set -euo pipefail
cd "$(dirname "$0")/.."
. utils/log.sh
venv=.venv-lowest

python=${PYTHON:-}
for candidate in python3.10 python3.11 python3.12; do
    [[ -z ${python} ]] && "${candidate}" -c '' 2>/dev/null && python=${candidate}
done
[[ -n ${python} ]] || die "found no Python 3.10 to 3.12; install one or set PYTHON"
log "lowest versions: ${venv} with $("${python}" --version)"
rm -rf "${venv}"
tools/make_venv.sh "${python}" "${venv}"
wanted=$("${python}" tools/lowest_versions.py)
torch=$(grep '^torch==' <<<"${wanted}")
pip=("${venv}/bin/python" -m pip install -qq --no-cache-dir)
if ! "${pip[@]}" "${torch}+cpu" 2>/dev/null; then
    log "lowest versions: pip finds no CPU build of ${torch}, so the standard build with CUDA libraries is installed"
fi
# pytest, hypothesis: so that any part of the test suite can be run in it
"${pip[@]}" --upgrade pip wheel
"${pip[@]}" --requirement <(echo "${wanted}") pytest hypothesis
log "lowest versions: done in ${SECONDS} s, $(du -sh "${venv}" | cut -f1)"
echo "${wanted}" >"${venv}/lowest.txt"
