# shellcheck shell=bash
# Sourced by asr.sh: selects the stages and runs each one's command with the job runner and the stage clock.
#
# Reads asr.sh's options and cmd.sh's commands; sets `stages`. Logs go to EXPDIR/logs, time and memory to
# EXPDIR/stages.tsv.
# shellcheck disable=SC2154  # asr.sh's variables

LAST_STAGE=9
((0 <= stage && stage <= LAST_STAGE)) || options_error "--stage ${stage}: stages are numbered from 0 to ${LAST_STAGE}"
((stop_stage <= LAST_STAGE)) || options_error "--stop_stage ${stop_stage}: the last stage is ${LAST_STAGE}"
((stage <= stop_stage)) || options_error "--stage ${stage} --stop_stage ${stop_stage}: no stage in this range"

_skipped=' '
[[ ${skip_data_prep} == false ]] || _skipped+='0 1 2 3 '
[[ ${alignment_only} == false ]] || _skipped+='6 '
[[ -z ${init_from} ]] || _skipped+='5 ' # a trained model has its alignment
[[ ${skip_train} == false ]] || _skipped+='4 5 6 '
[[ ${skip_eval} == false ]] || _skipped+='7 8 9 '

stages=()
for ((_stage = stage; _stage <= stop_stage; _stage++)); do
    [[ ${_skipped} == *" ${_stage} "* ]] || stages+=("${_stage}")
done
((${#stages[@]} > 0)) || options_error "the options skip every stage from ${stage} to ${stop_stage}"

# Without --ngpu no GPU is used, even if the machine has one. Training on a CPU then keeps the memory it frees: returning
# it after each step costs small models up to half of the time (and keeping it costs large ones up to half of the memory).
if ((ngpu == 0)); then
    export CUDA_VISIBLE_DEVICES='' DS_ACCELERATOR=cpu
    [[ ${scale} != mini ]] || export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592
fi

# Stages 4 and 7: one process per GPU, or one on the CPU, unless --inference_nj says otherwise
((ngpu > 0)) && _on_gpus=true || _on_gpus=false
: "${gpu_inference:=${_on_gpus}}"
case ${gpu_inference} in
    true) ((ngpu > 0)) || options_error "--gpu_inference true needs GPUs: set --ngpu" ;;
    false) ;;
    *) options_error "--gpu_inference: got '${gpu_inference}', wanted true or false" ;;
esac
: "${inference_nj:=$([[ ${gpu_inference} == true ]] && echo "$((inference_ngpu > 0 ? ngpu / inference_ngpu : 0))" || echo 1)}"

# On SIGTERM, exit with the status of the running stage: 75 if a training has saved its state
trap 'status=$?; exit $((status ? status : 143))' TERM

# in_stage N "what: from -> to": log and return true if stage N is selected
in_stage() {
    [[ " ${stages[*]} " == *" $1 "* ]] || return 1
    log "stage $1: $2"
    _log_file=${expdir}/logs/${sft##*/}/stage$1.node${node_rank}.log
    _clock=(python3 -m zipperasr.stages.clock --table "${expdir}/stages.tsv" --stage "$1" --description "$2" --)
    ((node_rank == 0)) || _clock=()
}

# on_cpu MODULE ARGUMENTS...: one process
on_cpu() { ${train_cmd} "${_log_file}" "${_clock[@]}" python3 -m "$@"; }

# on_shards N RUNNER MODULE ARGUMENTS...: N processes that share the work, on any number of machines
on_shards() {
    local count=$1 runner=$2
    shift 2
    if ((count == 1)); then
        ${runner} "${_log_file}" "${_clock[@]}" python3 -m "$@"
    else
        "${_clock[@]}" utils/shards.sh --nj "${count}" --retries "${retries}" --cmd "${runner}" \
            --merge_cmd "${train_cmd}" "${_log_file}" python3 -m "$@"
    fi
}

# on_cpu_shards MODULE ARGUMENTS...: --nj processes
on_cpu_shards() { on_shards "${nj}" "${train_cmd}" "$@"; }

# on_inference_shards MODULE ARGUMENTS...: --inference_nj processes, each with --inference_ngpu GPUs, or on the CPU
on_inference_shards() {
    if [[ ${gpu_inference} == true ]]; then
        on_shards "${inference_nj}" "${cuda_cmd} --gpu ${inference_ngpu}" "$@"
    else
        CUDA_VISIBLE_DEVICES='' on_shards "${inference_nj}" "${cuda_cmd}" "$@"
    fi
}

# on_all_gpus MODULE ARGUMENTS...: one process per GPU and machine, or --nproc processes on the CPU
on_all_gpus() {
    ${cuda_cmd} --gpu "${ngpu}" --num_nodes "${num_nodes}" "${_log_file}" "${_clock[@]}" utils/launch.sh \
        --ngpu "${ngpu}" --nproc "${nproc}" --num_nodes "${num_nodes}" --node_rank "${node_rank}" \
        --master "${master}" --hostfile "${hostfile}" -m "$@"
}
