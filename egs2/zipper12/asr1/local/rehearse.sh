#!/usr/bin/env bash
# Rehearse the full-scale experiment on this machine: random backbones of full depth, one step of each training.
#
# Usage: local/rehearse.sh [options]     --help lists them
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=../../../TEMPLATE/asr1/path.sh
. ./path.sh

exec python3 -m local.rehearsal.run "$@"
