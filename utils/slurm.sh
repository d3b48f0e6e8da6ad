#!/usr/bin/env bash
# Run a command as a Slurm job and wait for it, in the calling form of utils/run.sh.
#
# Usage: utils/slurm.sh [options] LOG COMMAND ...
#        utils/slurm.sh [options] JOB=1:8 log/x.JOB.log COMMAND ... part.JOB ...
# A range becomes a job array. With --num_nodes 2 COMMAND runs once on each machine (utils/launch.sh joins them).
# Exits with 1 if a job failed. `--show true` prints the batch script and submits nothing.
set -euo pipefail

max_jobs_run=0 # jobs of a range that run at once; 0 for no limit
num_threads=1  # cores of a job
mem=           # memory of a job, such as 16G; empty for the cluster's default
time=          # time limit of a job, such as 2-00:00:00; empty for the cluster's default
gpu=0          # GPUs of a job, on each machine
num_nodes=1    # machines of a job
partition=     # empty for the cluster's default
account=       # empty for the user's default
show=false     # print the batch script and stop
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
    echo "status=\$?" # 75: a training was asked to stop, saved a checkpoint and wants to go on (zipperasr/train)
    echo "[[ \${status} -ne 75 ]] || scontrol requeue \"\${SLURM_JOB_ID}\""
    echo "exit \${status}"
}

if [[ ${show} == true ]]; then
    batch_script "$@"
    exit
fi
command -v sbatch >/dev/null || die "no sbatch on this machine; use utils/run.sh in cmd.sh, or log in to the cluster"
mkdir -p "$(dirname "${log_file}")"
log "slurm: waiting for ${1}, log in ${log_file}"
batch_script "$@" | sbatch --wait --export=ALL >/dev/null || die "a job failed, see ${log_file}"
