#!/usr/bin/env bash
# Install torch: the CPU build if there is no GPU and pip finds one, otherwise the standard build.
#
# Usage: tools/install_torch.sh [PYTHON]
# PyTorch has its own package index for CPU builds; set PIP_EXTRA_INDEX_URL to it (see pytorch.org, Get Started).
set -euo pipefail
here=$(dirname "$0")
. "${here}/../utils/log.sh"
. "${here}/torch_version.sh"
python=${1:-python3}

installed=$("${python}" -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null || true)
if [ "${installed%%+*}" = "${torch_version}" ]; then
    log "set-up: torch ${installed} is already installed"
    exit
fi

if has_gpu; then
    log "set-up: torch ${torch_version} for CUDA"
    "${python}" -m pip install -qq "torch==${torch_version}"
elif "${python}" -m pip install -qq "torch==${torch_version}+cpu" 2>/dev/null; then
    log "set-up: torch ${torch_version}, CPU build"
else
    log "set-up: pip finds no CPU build of torch ${torch_version}, so the standard build is installed, with gigabytes of" \
        "CUDA libraries; stop here and set PIP_EXTRA_INDEX_URL to PyTorch's CPU index (see pytorch.org) to avoid that"
    "${python}" -m pip install -qq "torch==${torch_version}"
fi
