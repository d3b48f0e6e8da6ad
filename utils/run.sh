#!/usr/bin/env bash
# Run a command on this machine and keep its log, in the calling form of Kaldi's run.pl.
#
# Usage: utils/run.sh [options] LOG COMMAND ...
#        utils/run.sh [options] JOB=1:8 log/x.JOB.log COMMAND ... part.JOB ...
# One command shows its output and keeps it in LOG. A range runs one job for each number, which replaces JOB in LOG and
# in COMMAND; their output goes to the logs only. Exits with 1 if a job of a range failed, naming it; else with the
# command's own status. What a queue would reserve (see utils/slurm.sh) is accepted and not needed here.
set -euo pipefail

max_jobs_run=0 # jobs of a range that run at once; 0 for the number of cores
num_threads=1  # for a queue: cores of a job
mem=           # for a queue: memory of a job
time=          # for a queue: time of a job
gpu=0          # for a queue: GPUs of a job
num_nodes=1    # for a queue: machines of a job
. "$(dirname "$0")/log.sh"
. "$(dirname "$0")/parse_options.sh"
: "${num_threads} ${mem} ${time} ${gpu} ${num_nodes}"

trap : TERM # what runs here is asked to stop as well (by timeout, Slurm, kill -- -GROUP): wait for its answer

first='' last=''
if [[ ${1-} =~ ^JOB=([0-9]+):([0-9]+)$ ]]; then
    first=${BASH_REMATCH[1]} last=${BASH_REMATCH[2]}
    shift
fi
[[ $# -ge 2 ]] || options_error "wanted LOG and COMMAND, got '$*'"

# cause STATUS: the signal behind an exit status, as ", SIGKILL, probably out of memory"; nothing if there was none
cause() {
    local name
    (($1 > 128 && $1 < 160)) && name=$(kill -l "$(($1 - 128))") || return 0
    echo ", SIG${name}$([[ ${name} != KILL ]] || echo ', probably out of memory')"
}

# run_logged LOG COMMAND...: Kaldi's first and last lines around the command's output
run_logged() {
    local log_file=$1 status=0 start=${SECONDS}
    shift
    mkdir -p "$(dirname "${log_file}")"
    printf '# %s\n# Running on %s\n# Started at %s\n' "$*" "$(hostname)" "$(date)" >"${log_file}"
    "$@" </dev/null 2>&1 | (trap '' INT TERM && exec tee -a "${log_file}") || status=$?
    printf '# Ended (code %d%s) at %s, elapsed time %d seconds\n' \
        "${status}" "$(cause "${status}")" "$(date)" "$((SECONDS - start))" >>"${log_file}"
    return "${status}"
}

if [[ -z ${first} ]]; then
    status=0
    run_logged "$@" || status=$?
    ((status <= 128)) || log "${0##*/}: the command ended with code ${status}$(cause "${status}"), see $1"
    exit "${status}"
fi

((max_jobs_run > 0)) || max_jobs_run=$(nproc)
declare -A log_of=()
running=0 failed=0
for ((job = first; job <= last; job++)); do
    if ((running >= max_jobs_run)); then
        wait -n || true
        running=$((running - 1))
    fi
    run_logged "${@//JOB/${job}}" >/dev/null &
    log_of[$!]=${1//JOB/${job}}
    running=$((running + 1))
done
for pid in "${!log_of[@]}"; do
    status=0
    wait "${pid}" || status=$?
    ((status > 0)) || continue
    failed=$((failed + 1))
    log "${0##*/}: a job failed with code ${status}$(cause "${status}"), see ${log_of[${pid}]}"
done
((failed == 0)) || die "${failed} of $((last - first + 1)) jobs failed"
