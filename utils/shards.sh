#!/usr/bin/env bash
# Run a stage's command as N shards, run those that failed again, then merge them.
#
# Usage: utils/shards.sh [options] LOG COMMAND ...
# COMMAND is a module of zipperasr.stages with all its options except --shard:
#   COMMAND --shard missing/N   prints the shards that are not complete, as ranges of job numbers
#   COMMAND --shard K/N         computes shard K; its log is LOG with .K before the suffix
#   COMMAND --shard merge/N     merges the shards, and fails if one is missing
# An interrupted run continues with the missing shards when the same command runs again.
set -euo pipefail

nj=1             # number of shards
retries=1        # how often shards that failed, or were killed, run again
cmd=utils/run.sh # job runner with its options, called as in Kaldi
merge_cmd=       # job runner of the merge, which needs no GPU   [--cmd]
. "$(dirname "$0")/log.sh"
. "$(dirname "$0")/parse_options.sh"
[[ $# -ge 2 ]] || options_error "wanted LOG and COMMAND, got '$*'"
log_file=$1
shift
: "${merge_cmd:=${cmd}}"

# For the locks of the shards: when a shard runs again, the process that ran it before has ended (sole_writer.py)
SHARDS_RUN=$(hostname).$$.$(date +%s)
export SHARDS_RUN SHARDS_ATTEMPT

stopped=false
trap 'stopped=true' TERM # the jobs receive SIGTERM as well: wait for them

mkdir -p "$(dirname "${log_file}")"
for ((attempt = 0; ; attempt++)); do
    if ! missing=$("$@" --shard "missing/${nj}" 2>"${log_file}"); then
        tail -n 1 "${log_file}" >&2
        exit 1
    fi
    [[ ${missing} =~ ^[0-9:\ ]*$ ]] || die "got '${missing}' from --shard missing/${nj}, wanted ranges of numbers"
    [[ -n ${missing} ]] || break
    numbers=${missing//:/-}
    ((attempt <= retries)) || die "shards ${numbers} of ${nj} failed, see ${log_file%.log}.*.log"
    again=$( ((attempt == 0)) || echo " again")
    log "running shards ${numbers} of ${nj}${again}, logs in ${log_file%.log}.*.log"
    SHARDS_ATTEMPT=${attempt}
    for range in ${missing}; do
        ${cmd} "JOB=${range}" "${log_file%.log}.JOB.log" "$@" --shard "JOB/${nj}" &
    done
    until wait; do :; done
    [[ ${stopped} == false ]] || exit 143
done
${merge_cmd} "${log_file}" "$@" --shard "merge/${nj}"
