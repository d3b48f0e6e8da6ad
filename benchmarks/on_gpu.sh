#!/usr/bin/env bash
# Benchmarks and tests on a GPU, in sections. Each writes its results as soon as they are available.
#
# Usage: benchmarks/on_gpu.sh [options] [SECTION...]    (default: all sections, in this order)
#   lora        75 s  one layer with each LoRA variant and with PEFT's LoRA, in bfloat16 and float32
#   train      210 s  the configured training step, chunked and full context; then a smaller one with two peers
#   deepspeed   70 s  the same step under ZeRO-2 (needs DeepSpeed)
#   resume      95 s  save, load in a new process, compare the next step (needs DeepSpeed)
#   decode     100 s  greedy search as configured, chunked and full context, and with CUDA graphs; then fewer utterances
#                     with two peers
#   tests       50 s  the tests marked `gpu` (needs pytest)
# The times are for --minutes 10 and scale with it; with less time, fewer rounds are measured. A section is stopped at
# twice its time, and the whole run after --minutes; what was skipped is listed at the end. Uses the active python3 with
# torch 2.11 or later, transformers and peft. Sections that need a missing package are skipped. No network access.
set -euo pipefail
cd "$(dirname "$0")/.."
. utils/log.sh

device=cuda                   # device: cuda or cpu
size=paper                    # size of the backbones: paper, or tiny to try the script without a GPU
minutes=10                    # time limit for all sections
results=benchmarks/RESULTS.md # Markdown file that receives the results
. utils/parse_options.sh

declare -A budget_s=([lora]=75 [train]=210 [deepspeed]=70 [resume]=95 [decode]=100 [tests]=50)
declare -A needs=([deepspeed]=deepspeed [resume]=deepspeed [tests]=pytest)
sections=(lora train deepspeed resume decode tests)
startup_s=15 # imports and GPU initialisation, which --seconds of the benchmarks does not include

[[ ${device} == cuda || ${device} == cpu ]] || options_error "--device: got '${device}', wanted cuda or cpu"
[[ ${size} == paper || ${size} == tiny ]] || options_error "--size: got '${size}', wanted paper or tiny"
((minutes > 0)) || options_error "--minutes: got '${minutes}', wanted at least 1"
for name in "$@"; do
    [[ -v budget_s[${name}] ]] || options_error "unknown section '${name}', choose from ${sections[*]}"
done
(($#)) && sections=("$@")

export PYTHONPATH=${PWD}:${PWD}/egs2/zipper12/asr1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
if [[ ${device} == cpu ]]; then
    export CUDA_VISIBLE_DEVICES='' DS_ACCELERATOR=cpu
elif ! python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    die "no CUDA device; use --device cpu --size tiny to try the script without one"
fi

at=(--device "${device}" --results "${results}")
graphs=()
[[ ${device} == cpu ]] || graphs=(--cuda_graphs)
if [[ ${size} == paper ]]; then
    lora_rows=(131072 32768) # in bfloat16, in float32
    lora_repeats=(--languages 12 --rounds 30)
    repeats=(--rounds 20 --warmup 2)
    packs=()
    peer_step=(--packs 2 --rounds 5 --warmup 1)
    decoded=(--utterances 128 --encoder_batch 32 --rounds 10 --warmup 1)
    peer_decoded=(--utterances 64 --encoder_batch 32 --peer_batches 32 --rounds 3 --warmup 1)
else
    lora_rows=(16 16)
    lora_repeats=(--languages 3 --rounds 1 --warmup 0)
    repeats=(--rounds 1 --warmup 1)
    packs=(--packs 1)
    peer_step=(--packs 1 --rounds 1 --warmup 0)
    decoded=(--utterances 3 --languages 2 --encoder_batch 2 --rounds 1 --warmup 0)
    peer_decoded=("${decoded[@]}" --peer_batches 2)
fi

# run PERCENT SCRIPT OPTIONS...: run a benchmark with this share of the section's time. Fails if the benchmark fails or
# is stopped.
run() {
    local share_s=$((budget * $1 / 100)) limit_s=$((2 * budget - (SECONDS - section_start)))
    shift
    ((limit_s < minutes * 60 - SECONDS)) || limit_s=$((minutes * 60 - SECONDS))
    if ((limit_s <= 0)); then
        skipped+=("$*: not started")
        return 1
    fi
    local script=benchmarks/$1 status=0
    shift
    [[ ${script} == */resume.py || ${script} == */gpu_tests.py ]] ||
        set -- "$@" --seconds "$((share_s > startup_s ? share_s - startup_s : 1))"
    timeout --kill-after=10 "${limit_s}" python3 "${script}" "$@" "${at[@]}" || status=$?
    case ${status} in
        0) ;;
        124 | 137) skipped+=("${script}: stopped after ${limit_s} s") ;;
        *) failed+=("${script} $*") ;;
    esac
    return "${status}"
}

lora() {
    run 70 lora.py --dtype bfloat16 --rows "${lora_rows[0]}" "${lora_repeats[@]}" || true
    run 30 lora.py --dtype float32 --rows "${lora_rows[1]}" "${lora_repeats[@]}" || true
}
train() {
    run 60 full_step.py --size "${size}" "${packs[@]}" "${repeats[@]}" || true
    run 40 train_step.py --size "${size}" --dtype bfloat16 --regime chunked "${peer_step[@]}" || true
}
deepspeed() { run 100 zero_step.py --size "${size}" "${packs[@]}" "${repeats[@]}" || true; }
resume() { run 100 resume.py --size "${size}" "${packs[@]}" || true; }
decode() {
    local search=(decode.py --size "${size}" --dtype bfloat16 --rows 64 --positions 16384)
    run 50 "${search[@]}" --regime chunked full "${decoded[@]}" --peer_batches "${graphs[@]}" || true
    run 50 "${search[@]}" --regime chunked "${peer_decoded[@]}" || true
}
tests() { run 100 gpu_tests.py || true; }

has() { python3 -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)' "$1" 2>/dev/null; }

failed=() skipped=()
for section in "${sections[@]}"; do
    package=${needs[${section}]-}
    if [[ -z ${package} ]]; then
        log "== ${section}: uses torch, transformers and peft"
    elif has "${package}"; then
        log "== ${section}: uses ${package}"
    else
        log "== ${section}: skipped because ${package} is not installed (pip install ${package})"
        continue
    fi
    budget=$((budget_s[${section}] * minutes / 10))
    section_start=${SECONDS}
    "${section}"
    log "== ${section}: finished after $((SECONDS - section_start)) s of ${budget} s; results in ${results}"
done
((${#skipped[@]} == 0)) || printf 'skipped for lack of time: %s\n' "${skipped[@]}" >&2
((${#failed[@]} == 0)) || printf 'failed: %s\n' "${failed[@]}" >&2
((${#skipped[@]} + ${#failed[@]} == 0))
