#!/usr/bin/env bash
# Install ESPnet without its dependencies, some of which fail on a current pip or replace torch.
#
# Usage: tools/install_espnet.sh [PYTHON]
# The extra `espnet` of setup.py has the dependencies of its file readers, samplers and reporter.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "${root}/utils/log.sh"
python=${1:-python3}

works() { "${python}" -c 'import espnet2.fileio.sound_scp, espnet2.train.reporter, espnet2.train.abs_espnet_model'; }

log "set-up: espnet"
"${python}" -m pip install -qq --no-deps espnet==202511
works 2>/dev/null || "${python}" -m pip install -qq --editable "${root}[espnet]"
works
