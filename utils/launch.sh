#!/usr/bin/env bash
# Start a Python module in one process, or in many on one machine or several.
#
# Usage: utils/launch.sh [options] -m MODULE ARGUMENTS ...
# One process is plain Python. Several are started by torchrun (zipperasr.train.torchrun): run the same command on each
# machine, or once under Slurm (srun), which tells each machine its number. With a host file DeepSpeed's launcher starts
# them all by ssh. The processes of a machine share its cores.
set -euo pipefail

ngpu=0                 # GPUs on this machine, a process for each; 0 for none
nproc=1                # processes where there is no GPU
num_nodes=1            # machines
node_rank=0            # this machine's number, from 0; under Slurm it is known
master=localhost:29500 # host and port of machine 0; under Slurm the host is known
hostfile=              # DeepSpeed's list of machines, `host slots=4` a line; of the three above the port alone then counts
. "$(dirname "$0")/log.sh"
. "$(dirname "$0")/parse_options.sh"

if [[ ${1-} != -m || $# -lt 2 ]]; then
    options_error "wanted -m MODULE, got '$*'"
fi

if ((ngpu > 0)); then
    found=$(python3 -c 'import torch; print(torch.cuda.device_count())')
    ((ngpu <= found)) || die "--ngpu ${ngpu}: torch sees ${found} GPUs on $(hostname); try tools/check_install.py"
    nproc=${ngpu}
    # no two steps have equal shapes: without this the allocator's unused blocks fit none of the later ones
    if [[ -z ${PYTORCH_ALLOC_CONF-}${PYTORCH_CUDA_ALLOC_CONF-} ]]; then
        export PYTORCH_ALLOC_CONF=expandable_segments:True
    fi
fi
if [[ -n ${hostfile} ]]; then
    [[ -r ${hostfile} ]] || die "${hostfile}: no such host file"
    shift
    exec deepspeed --hostfile "${hostfile}" --num_gpus "${nproc}" --master_port "${master#*:}" --module "$@"
fi
if ((nproc == 1 && num_nodes == 1)); then
    exec python3 "$@"
fi

threads=$(($(nproc) / nproc))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}
if ((num_nodes == 1)); then
    exec python3 -m zipperasr.train.torchrun --standalone --nproc_per_node "${nproc}" "$@"
fi
if [[ -n ${SLURM_JOB_NODELIST-} ]]; then
    node_rank=${SLURM_NODEID}
    master=$(scontrol show hostnames "${SLURM_JOB_NODELIST}" | head -n 1):${master#*:}
fi
exec python3 -m zipperasr.train.torchrun --nnodes "${num_nodes}" --node_rank "${node_rank}" --nproc_per_node "${nproc}" \
    --master_addr "${master%:*}" --master_port "${master#*:}" "$@"
