#!/usr/bin/env bash
# Build NIST's sclite from source into tools/sctk, where path.sh finds it. Optional: it checks our own score reports.
#
# Usage: tools/install_sctk.sh [SOURCE]
#   SOURCE: a git URL or a local clone (default: NIST's repository). Needs git, make, a C and a C++ compiler.
# On Debian or Ubuntu with root, `apt-get install sctk` does as well.
set -euo pipefail
cd "$(dirname "$0")"
. ../utils/log.sh
source=${1:-https://github.com/usnistgov/SCTK.git}

for tool in git make cc c++; do
    command -v "${tool}" >/dev/null || die "${tool} is missing; on Debian or Ubuntu, apt-get install build-essential git"
done
rm -rf sctk
log "sctk: ${source} -> tools/sctk (log in tools/sctk.log)"
git clone --quiet "${source}" sctk || die "cannot clone ${source}; give a local clone as SOURCE"
for target in config all install; do
    make -C sctk "${target}" >>sctk.log 2>&1 || die "make ${target} failed; see tools/sctk.log"
done
usage=$(sctk/bin/sclite 2>&1 || true)
[[ ${usage} == *"sclite Version"* ]] || die "sclite was built but does not run; see tools/sctk.log"
log "sctk: tools/sctk/bin/sclite is ready"
