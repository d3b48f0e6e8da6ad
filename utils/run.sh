#!/usr/bin/env bash
# Run a command on this machine and write its log. Called like Kaldi's run.pl.
#
# Usage: utils/run.sh [options] LOG COMMAND ...
#        utils/run.sh [options] JOB=1:8 log/x.JOB.log COMMAND ... part.JOB ...
# A single command writes its output to the terminal and to LOG. A range runs one job per number, which replaces JOB in
# LOG and COMMAND; their output is written to the logs only. The jobs share the machine's cores and, with --gpu, its
# GPUs: job J always gets the same ones, and waits for an earlier job that has them. Exits with the command's status;
# with 1 if a job of a range failed. The other options of utils/slurm.sh that reserve resources are ignored.
set -euo pipefail

max_jobs_run=0 # maximum number of simultaneous jobs; 0 for the number of cores
num_threads=1  # ignored: cores per job
mem=           # ignored: memory per job
time=          # ignored: time per job
gpu=0          # GPUs per job of a range, chosen with CUDA_VISIBLE_DEVICES
num_nodes=1    # ignored: machines per job
. "$(dirname "$0")/log.sh"
. "$(dirname "$0")/parse_options.sh"
: "${num_threads} ${mem} ${time} ${num_nodes}"

trap : TERM # the command receives SIGTERM as well (from timeout, Slurm, kill -- -GROUP): wait for it

first='' last=''
if [[ ${1-} =~ ^JOB=([0-9]+):([0-9]+)$ ]]; then
    first=${BASH_REMATCH[1]} last=${BASH_REMATCH[2]}
    shift
fi
[[ $# -ge 2 ]] || options_error "wanted LOG and COMMAND, got '$*'"

# cause STATUS: print the signal of an exit status, such as ", SIGKILL, probably out of memory", or nothing
cause() {
    local name
    (($1 > 128 && $1 < 160)) && name=$(kill -l "$(($1 - 128))") || return 0
    echo ", SIG${name}$([[ ${name} != KILL ]] || echo ', probably out of memory')"
}

# run_logged LOG COMMAND...: write the output to LOG between the first and last lines that Kaldi writes
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

gpus_of=() # what CUDA_VISIBLE_DEVICES of a job may be, such as 0 or 0,1
if ((gpu > 0)); then
    [[ -v CUDA_VISIBLE_DEVICES ]] ||
        CUDA_VISIBLE_DEVICES=$(nvidia-smi --query-gpu=index --format=csv,noheader | paste -sd ,)
    IFS=, read -ra devices <<<"${CUDA_VISIBLE_DEVICES}"
    for ((start = 0; start + gpu <= ${#devices[@]}; start += gpu)); do
        gpus_of+=("$(IFS=, && echo "${devices[*]:start:gpu}")")
    done
    ((${#gpus_of[@]} > 0)) || die "--gpu ${gpu}: found ${#devices[@]} GPUs on $(hostname)"
    export CUDA_VISIBLE_DEVICES
fi
cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc) # which takes these for the number of cores
most=$((gpu > 0 ? ${#gpus_of[@]} : cores))
((0 < max_jobs_run && (max_jobs_run < most || gpu == 0))) || max_jobs_run=${most}
simultaneous=$((last - first + 1 < max_jobs_run ? last - first + 1 : max_jobs_run))
threads=$((cores / simultaneous))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}

declare -A log_of=()
holder_of=() # the last job that got these GPUs
running=0 failed=0
for ((job = first; job <= last; job++)); do
    if ((gpu > 0)); then
        slot=$(((job - 1) % max_jobs_run))
        CUDA_VISIBLE_DEVICES=${gpus_of[slot]}
        [[ -z ${holder_of[slot]-} ]] || wait "${holder_of[slot]}" || true
    elif ((running >= max_jobs_run)); then
        wait -n || true
        running=$((running - 1))
    fi
    run_logged "${@//JOB/${job}}" >/dev/null &
    log_of[$!]=${1//JOB/${job}}
    ((gpu == 0)) || holder_of[slot]=$!
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
