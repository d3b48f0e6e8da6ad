# shellcheck shell=bash
# Sourced by asr.sh: choose the stages, and run each one's command by the job runner, timed by the stage clock.
#
# Reads asr.sh's options and cmd.sh's commands. Logs go to EXPDIR/logs, times and memory to EXPDIR/stages.tsv.
# shellcheck disable=SC2154  # asr.sh's variables

_skipped=' '
[[ ${skip_data_prep} == false ]] || _skipped+='0 1 2 3 '
[[ ${alignment_only} == false ]] || _skipped+='6 '
[[ -z ${init_from} ]] || _skipped+='5 ' # a trained system has its alignment
[[ ${skip_train} == false ]] || _skipped+='4 5 6 '
[[ ${skip_eval} == false ]] || _skipped+='7 8 9 '

# Without --ngpu no GPU is used, even if the machine has one. Training on a CPU then keeps the memory it frees: returning
# it after each step costs small models up to half of the time (and keeping it costs large ones up to half of the memory).
if ((ngpu == 0)); then
    export CUDA_VISIBLE_DEVICES='' DS_ACCELERATOR=cpu
    [[ ${scale} != mini ]] || export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592
fi

# SIGTERM to the process group: exit as the running stage does, with 75 if a training has saved its state
trap 'status=$?; exit $((status ? status : 143))' TERM

# in_stage N "what: from -> to": true if stage N is to run; says so
in_stage() {
    ((stage <= $1 && $1 <= stop_stage)) && [[ ${_skipped} != *" $1 "* ]] || return 1
    log "stage $1: $2"
    _log_file=${expdir}/logs/${sft##*/}/stage$1.node${node_rank}.log
    _clock=(python3 -m zipperasr.stages.clock --table "${expdir}/stages.tsv" --stage "$1" --description "$2" --)
    ((node_rank == 0)) || _clock=()
}

# on_cpu MODULE ARGUMENTS...: one process
on_cpu() { ${train_cmd} "${_log_file}" "${_clock[@]}" python3 -m "$@"; }

# on_gpu MODULE ARGUMENTS...: one process, on a GPU if the run has any
on_gpu() { ${cuda_cmd} --gpu "$((ngpu > 0))" "${_log_file}" "${_clock[@]}" python3 -m "$@"; }

# on_all_gpus MODULE ARGUMENTS...: a process for each GPU of each machine, or --nproc processes without one
on_all_gpus() {
    ${cuda_cmd} --gpu "${ngpu}" --num_nodes "${num_nodes}" "${_log_file}" "${_clock[@]}" utils/launch.sh \
        --ngpu "${ngpu}" --nproc "${nproc}" --num_nodes "${num_nodes}" --node_rank "${node_rank}" \
        --master "${master}" --hostfile "${hostfile}" -m "$@"
}
