#!/usr/bin/env bash
# The paper's experiment: twelve target languages from five corpora. Takes asr.sh's options; --help lists them.
#
# Usage: ./run.sh                             mini scale: everything made here, minutes on two cores
#        ./run.sh --lora vanilla --stage 6    another variant from the same alignment
#        ./run.sh --scale full --ngpu 4       the paper's size
set -euo pipefail
cd "$(dirname "$0")"

exec ./asr.sh "$@"
