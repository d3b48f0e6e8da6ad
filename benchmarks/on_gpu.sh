#!/usr/bin/env bash
# All that needs a GPU, in one call: the tests marked `gpu`, then the benchmarks at the paper's sizes.
#
# Usage: benchmarks/on_gpu.sh [OUT]
# Needs torch, transformers, peft and pytest; no network. Sections go to benchmarks/RESULTS.md, and with OUT a copy of it
# and of the log into that directory. Takes the active python3.
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:-benchmarks}
mkdir -p "${out}"
export PYTHONPATH=${PWD}:${PWD}/egs2/zipper12/asr1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
run() {
    echo "== $*"
    "$@" || failed+=("$*")
}

failed=()
exec > >(tee "${out}/on_gpu.log") 2>&1
python3 -c 'import torch; print(torch.__version__, torch.cuda.get_device_name())'
mapfile -t tests < <(grep -rl --include='*.py' 'mark\.gpu' tests) # the others may need packages that are not here
run python3 -m pytest -m gpu -p no:cacheprovider -rs "${tests[@]}"
run python3 benchmarks/lora.py --device cuda --dtype bfloat16 --rows 131072 --languages 12 --rounds 30
run python3 benchmarks/lora.py --device cuda --dtype float32 --rows 32768 --languages 12 --rounds 20
run python3 benchmarks/parameters.py
step=(python3 benchmarks/train_step.py --size paper --device cuda --dtype bfloat16 --packs 4 --rounds 5 --warmup 2)
run "${step[@]}" --phase sft
run "${step[@]}" --phase align
run "${step[@]}" --phase sft --compile
run python3 benchmarks/decode.py --size paper --device cuda --dtype bfloat16 --regime chunked full \
    --utterances 128 --rows 64 --encoder_batch 32 --peer_batches 32 --rounds 2
[[ ${out} == benchmarks ]] || cp benchmarks/RESULTS.md "${out}/"
if ((${#failed[@]})); then
    printf 'failed: %s\n' "${failed[@]}"
    exit 1
fi
