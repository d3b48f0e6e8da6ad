# shellcheck shell=bash
# Sourced by scripts to log to stderr in the same format as the Python commands.

log() { echo "$(date '+%Y-%m-%d %H:%M:%S') $*" >&2; }

die() {
    echo "${0##*/}: error: $*" >&2
    exit 1
}
