#!/usr/bin/env bash
# Train every system of the paper (variants x encoder regimes x data settings x seeds), then write RESULTS.md.
#
# Usage: local/reproduce.sh [options]     --help lists them
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=../../../TEMPLATE/asr1/path.sh
. ./path.sh

exec python3 -m local.reproduce "$@"
