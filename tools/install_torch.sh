#!/usr/bin/env bash
# Install torch: its CPU build where there is no GPU and pip finds one, else the standard build.
#
# Usage: tools/install_torch.sh [PYTHON]
# PyTorch keeps its CPU builds on an index of its own; PIP_EXTRA_INDEX_URL may name it (see pytorch.org, Get Started).
set -euo pipefail
here=$(dirname "$0")
. "${here}/../utils/log.sh"
. "${here}/torch_version.sh"
python=${1:-python3}

if "${python}" -c "import torch; assert torch.__version__.split('+')[0] == '${torch_version}'" 2>/dev/null; then
    log "set-up: torch ${torch_version} is there"
    exit
fi
install() { "${python}" -m pip install --quiet --constraint "${here}/../requirements/constraints.txt" "$@"; }

if has_gpu; then
    log "set-up: torch ${torch_version} for CUDA"
    install "torch==${torch_version}"
elif install "torch==${torch_version}+cpu" 2>/dev/null; then
    log "set-up: torch ${torch_version}, CPU build"
else
    log "set-up: pip finds no CPU build of torch ${torch_version} here, so it takes the standard build (gigabytes of" \
        "CUDA libraries that stay unused); PIP_EXTRA_INDEX_URL may name PyTorch's CPU index, see pytorch.org"
    install "torch==${torch_version}"
fi
