#!/usr/bin/env bash
# Install NIST's sclite in tools/sctk/bin, where path.sh finds it. Optional: tests compare our reports with it.
#
# Usage: tools/install_sctk.sh [SOURCE]
#   Without SOURCE, unpacks the package of Debian or Ubuntu: needs apt-get and dpkg-deb, neither root nor a compiler.
#   If that fails, or with SOURCE (a git URL or a local clone; default: NIST's repository), builds it: needs git, make, a
#   C and a C++ compiler.
set -euo pipefail
cd "$(dirname "$0")"
. ../utils/log.sh

# True if the sclite of this directory starts.
runs() {
    local usage
    usage=$("$1/bin/sclite" 2>&1 || true)
    [[ ${usage} == *"sclite Version"* ]]
}

unpack_package() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    local work
    work=$(mktemp -d "${PWD}/sctk.XXXXXX")
    # shellcheck disable=SC2064 # the directory of now
    trap "rm -rf '${work}'" EXIT
    (cd "${work}" && apt-get download sctk && dpkg-deb -x sctk_*.deb unpacked) >>sctk.log 2>&1 || return 1
    runs "${work}/unpacked/usr/lib/sctk" || return 1
    rm -rf sctk
    mv "${work}/unpacked/usr/lib/sctk" sctk
}

build() {
    for tool in git make cc c++; do
        command -v "${tool}" >/dev/null ||
            die "${tool} is missing; on Debian or Ubuntu, apt-get install build-essential git"
    done
    rm -rf sctk
    log "sctk: ${1} -> tools/sctk (log in tools/sctk.log)"
    git clone --quiet "$1" sctk || die "cannot clone $1; give a local clone as SOURCE"
    for target in config all install; do
        make -C sctk "${target}" >>sctk.log 2>&1 || die "make ${target} failed; see tools/sctk.log"
    done
    runs sctk || die "sclite was built but does not run; see tools/sctk.log"
}

if [[ $# -eq 0 ]] && unpack_package; then
    log "sctk: unpacked from the distribution's package"
else
    build "${1:-https://github.com/usnistgov/SCTK.git}"
fi
log "sctk: tools/sctk/bin/sclite is ready"
