# shellcheck shell=bash
# Sourced by every script of a recipe to set PATH and PYTHONPATH: the project's .venv, or else the active Python.
# VENV selects another environment of the project, such as .venv-vllm.

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../../.." && pwd)

if [[ -x ${root}/${VENV:-.venv}/bin/python3 ]]; then
    export PATH=${root}/${VENV:-.venv}/bin:${PATH}
elif [[ -n ${VENV-} ]]; then
    echo "path.sh: error: ${root}/${VENV}/bin/python3 not found; create it with the script in tools/" >&2
    exit 1
fi
if [[ -x ${root}/tools/sctk/bin/sclite ]]; then
    export PATH=${root}/tools/sctk/bin:${PATH}
fi
export PYTHONPATH=${root}:${PWD}${PYTHONPATH:+:${PYTHONPATH}}
export LC_ALL=C.UTF-8 PYTHONUTF8=1
export TOKENIZERS_PARALLELISM=false
# progress bars: updated every second on a terminal, every ten seconds in a file
TQDM_MININTERVAL=$([[ -t 1 ]] && echo 1 || echo 10)
export TQDM_MININTERVAL
