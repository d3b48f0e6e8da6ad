#!/usr/bin/env bash
# Run a command as a Slurm job and wait for it. Called like utils/run.sh.
#
# Usage: utils/slurm.sh [options] LOG COMMAND ...
#        utils/slurm.sh [options] JOB=1:8 log/x.JOB.log COMMAND ... part.JOB ...
# A range becomes a job array. With --num_nodes 2, COMMAND runs once on each machine (utils/launch.sh connects them).
# Exits with 1 if a job failed. `--show true` prints the batch script without submitting it.
set -euo pipefail

max_jobs_run=0 # maximum number of simultaneous jobs of an array; 0 for no limit
num_threads=1  # cores per job
mem=           # memory per job, such as 16G; empty for the cluster's default
time=          # time limit per job, such as 2-00:00:00; empty for the cluster's default
gpu=0          # GPUs per machine
num_nodes=1    # machines per job
partition=     # empty for the cluster's default
account=       # empty for the user's default
show=false     # print the batch script and exit
. "$(dirname "$0")/log.sh"
. "$(dirname "$0")/parse_options.sh"

first='' last=''
if [[ ${1-} =~ ^JOB=([0-9]+):([0-9]+)$ ]]; then
    first=${BASH_REMATCH[1]} last=${BASH_REMATCH[2]}
    shift
fi
[[ $# -ge 2 ]] || options_error "wanted LOG and COMMAND, got '$*'"
log_file=$1
shift

directive() { echo "#SBATCH --$1=$2"; }

batch_script() {
    local log_pattern=${log_file} array='' command
    command=$(printf ' %q' "$@")
    if [[ -n ${first} ]]; then
        log_pattern=${log_file//JOB/%a}
        array=${first}-${last}
        ((max_jobs_run == 0)) || array+=%${max_jobs_run}
        command=${command//JOB/\$\{SLURM_ARRAY_TASK_ID\}}
    fi
    echo '#!/usr/bin/env bash'
    directive job-name "$(basename "${log_file}" .log)"
    directive output "${log_pattern}"
    directive open-mode append # if a job is requeued, its log continues
    [[ -z ${array} ]] || directive array "${array}"
    directive nodes "${num_nodes}"
    directive ntasks-per-node 1
    directive cpus-per-task "${num_threads}"
    ((gpu == 0)) || directive gres "gpu:${gpu}"
    [[ -z ${mem} ]] || directive mem "${mem}"
    [[ -z ${time} ]] || directive time "${time}"
    [[ -z ${partition} ]] || directive partition "${partition}"
    [[ -z ${account} ]] || directive account "${account}"
    echo '#SBATCH --requeue'
    echo "srun --export=ALL${command} && exit"
    echo "status=\$?" # 75: a training was interrupted and saved a checkpoint; requeue it
    echo "[[ \${status} -ne 75 ]] || scontrol requeue \"\${SLURM_JOB_ID}\""
    echo "exit \${status}"
}

if [[ ${show} == true ]]; then
    batch_script "$@"
    exit
fi
command -v sbatch >/dev/null || die "sbatch not found; use CMD_BACKEND=local, or log in to the cluster"
mkdir -p "$(dirname "${log_file}")"
for ((job = ${first:-0}; job <= ${last:-0}; job++)); do
    rm -f "${log_file//JOB/${job}}"
done
log "slurm: waiting for ${1}, log in ${log_file}"
batch_script "$@" | sbatch --wait --export=ALL >/dev/null || die "a job failed, see ${log_file}"
