# shellcheck shell=bash
# Sourced by the scripts: lines on stderr, as the Python steps write them.

log() { echo "$(date '+%Y-%m-%d %H:%M:%S') $*" >&2; }

die() {
    echo "${0##*/}: error: $*" >&2
    exit 1
}
