#!/usr/bin/env bash
# Install ESPnet's package without its dependencies, which fail on a current pip or replace torch.
#
# Usage: tools/install_espnet.sh [PYTHON]
# What the modules we use do need is zipperasr's extra: pip install -e '.[espnet]'.
set -euo pipefail
here=$(dirname "$0")
. "${here}/../utils/log.sh"
python=${1:-python3}

log "set-up: espnet, without its dependencies"
"${python}" -m pip install --quiet --no-deps espnet==202511
"${python}" -m pip install --quiet --constraint "${here}/../requirements/constraints.txt" \
    torch_complex h5py typeguard humanfriendly configargparse
"${python}" -c 'import espnet2.fileio.sound_scp, espnet2.train.reporter, espnet2.train.abs_espnet_model'
