#!/usr/bin/env bash
# Run the paper's experiment: twelve target languages from five corpora. Takes the options of asr.sh.
#
# Usage: ./run.sh                             mini scale, with synthetic data: minutes on two cores
#        ./run.sh --lora vanilla --stage 6    another variant, adapted from the same alignment
#        ./run.sh --scale full --ngpu 4       the paper's scale
set -euo pipefail
cd "$(dirname "$0")"

exec ./asr.sh "$@"
