#!/usr/bin/env bash
# Compare what is trained for a new language, and initialisations of its bank, on a trained system with several seeds.
#
# Usage: local/compare_bank_starts.sh --init_from exp/sft_zipper_soft_chunked --add_lang sw [options]   --help lists them
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=../../../TEMPLATE/asr1/path.sh
. ./path.sh

exec python3 -m local.compare_bank_starts "$@"
