#!/usr/bin/env bash
# Run a Python module in one or more processes, on one or more machines.
#
# Usage: utils/launch.sh [options] -m MODULE ARGUMENTS ...
# A single process runs as plain Python, several with torchrun (zipperasr.train.torchrun). On several machines, run the
# same command on each of them, or once with srun under Slurm. With a host file, DeepSpeed's launcher starts all
# processes through ssh. The processes of a machine share its cores.
set -euo pipefail

ngpu=0                 # GPUs on this machine, one process each; 0 for the CPU
nproc=1                # processes if --ngpu is 0
num_nodes=1            # number of machines
node_rank=0            # rank of this machine, from 0; set automatically under Slurm
master=localhost:29500 # host:port of machine 0; the host is set automatically under Slurm
hostfile=              # DeepSpeed host file with lines `HOST slots=GPUS`; replaces the options above except the port
. "$(dirname "$0")/log.sh"
. "$(dirname "$0")/parse_options.sh"

if [[ ${1-} != -m || $# -lt 2 ]]; then
    options_error "wanted -m MODULE, got '$*'"
fi

if ((ngpu > 0)); then
    found=$(python3 -c 'import torch; print(torch.cuda.device_count())')
    ((ngpu <= found)) || die "--ngpu ${ngpu}: torch finds ${found} GPUs on $(hostname); run tools/check_install.py"
    nproc=${ngpu}
    # shapes differ in every step: without this, later steps cannot reuse the allocator's free blocks
    if [[ -z ${PYTORCH_ALLOC_CONF-}${PYTORCH_CUDA_ALLOC_CONF-} ]]; then
        export PYTORCH_ALLOC_CONF=expandable_segments:True
    fi
else
    # keep freed memory: with glibc's limits, a training at mini scale returns and fetches it again in each step
    export MALLOC_MMAP_THRESHOLD_=${MALLOC_MMAP_THRESHOLD_:-4294967296}
    export MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_:-8589934592}
fi
if [[ -n ${hostfile} ]]; then
    [[ -r ${hostfile} ]] || die "${hostfile}: host file not found"
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
