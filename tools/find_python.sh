#!/usr/bin/env bash
# Print the Python to use: $PYTHON, or the first of python3, python3.11, ... that is 3.10-3.13.
#
# Usage: tools/find_python.sh
# On machines without a GPU, prefers a Python for which pip finds the CPU build of torch, a tenth of the CUDA build.
set -euo pipefail
. "$(dirname "$0")/../utils/log.sh"
. "$(dirname "$0")/torch_version.sh"

is_supported() {
    command -v "$1" >/dev/null &&
        "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

finds_cpu_torch() {
    "$1" -m pip install --quiet --dry-run --report /dev/null --no-deps --ignore-installed \
        "torch==${torch_version}+cpu" >/dev/null 2>&1
}

if [ -n "${PYTHON:-}" ]; then
    is_supported "${PYTHON}" || die "PYTHON=${PYTHON}: wanted Python 3.10 to 3.13"
    echo "${PYTHON}"
    exit
fi

first=
for python in python3 python3.11 python3.12 python3.13 python3.10; do
    is_supported "${python}" || continue
    first=${first:-${python}}
    if has_gpu || finds_cpu_torch "${python}"; then
        echo "${python}"
        exit
    fi
done
[ -n "${first}" ] || die "found no Python 3.10 to 3.13; install one (Debian: apt-get install python3) or set PYTHON"
echo "${first}"
