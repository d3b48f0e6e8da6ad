#!/usr/bin/env bash
# Zipper-LoRA multilingual speech recognition, from corpora to a scored report.
#
# Usage: ./asr.sh [--stage N] [--stop-stage N] [--scale mini|rehearsal|full] [options]
#
#   0  corpora and backbones (full: checked, else made here)    5  alignment: encoder, projector, LLM LoRA
#   1  data directories in Kaldi's form                         6  adaptation to the target languages: --lora
#   2  audio at 16 kHz, one utterance each                      7  decoding
#   3  manifest and same-language packs                         8  scoring
#   4  language embeddings from Whisper's decoder               9  RESULTS.md, figures, report.html
#
# A finished stage does nothing twice, an interrupted one goes on. Every step's own options: python3 -m MODULE --help.
set -euo pipefail

stage=0               # first stage to run
stop_stage=9          # last stage to run
scale=mini            # mini: synthetic speech, small models; rehearsal: conf/full, random backbones; full: the paper's
dry_run=false         # print sizes, memory, steps and what is missing, then stop
setting=1h            # 1h or 30h: how much the four small languages have
lora=zipper_soft      # encoder-side LoRA: vanilla, independent, flylora, zipper_static, zipper_hard, zipper_soft
regime=chunked        # chunked or full: how much of an utterance the encoder sees at once
initial_b=            # Initial-B: the adapted model (zipper_soft) whose B the adaptation starts from
initial_parts=b       # what it takes from there: b, a, router, as in "b router"
init_from=            # the trained system that --add_lang comes to; stage 5 is passed over, its variant and regime stay
add_lang=             # the new languages, as in "sw" or "sw pl": lines of conf/languages.tsv and conf/datasets.tsv
bank_from=nearest     # where a new bank starts: nearest (the LID-nearest language's bank), shared or zero
train_parts=bank      # what trains then: bank, router, shared, projector, llm, as in "bank router"; all
eval_lang=            # languages to decode and score, or all   [all, with --add_lang the new ones]
lid_mode=token        # token or state: which language embedding the router reads
seed=1                # of initialisation, packs and chunk lengths
tag=                  # added to the name of the adapted model, such as _seed2
train_args=           # settings over conf/SCALE/align.yaml and sft.yaml, such as "lr=1e-3 epochs=2"
decode_args=          # settings over conf/SCALE/decode.yaml, such as "beam=4 batch_size=8"
strict_lists=false    # make every flaw of the utterance lists an error
train_backbones=false # mini: train the backbones anew instead of taking those that come with the project
alignment_only=false  # pass over stage 6: train, decode and score the alignment alone
skip_data_prep=false  # skip stages 0 to 3
skip_train=false      # skip stages 4 to 6
skip_eval=false       # skip stages 7 to 9
nj=$(nproc)            # processes for data preparation
gpu=a800              # GPU model that --dry_run estimates hours and memory for: a800, a100, h100, h200
ngpu=0                # GPUs on this machine; 0 computes on the CPU
nproc=2               # training processes where there is no GPU; they share each batch
num_nodes=1           # machines that train together
node_rank=0           # this machine's number among them; known under Slurm
master=localhost:29500 # host and port of machine 0
hostfile=             # DeepSpeed's list of machines (needs pdsh and ssh), instead of the three above
datadir=              # data directories   [data, data_full, with _30h]
dumpdir=              # audio and manifest [dump, dump_full, with _30h]
expdir=               # models and results [exp, exp_full]
benchmark=            # also write the stages' times and memory to this file

INVOCATION=${INVOCATION:-"./${0##*/} $*"} # what the report names as its command
. ./path.sh
. ./cmd.sh
. utils/log.sh
. utils/parse_options.sh
. utils/stage.sh
[[ $# -eq 0 ]] || options_error "unexpected argument '$1'"

suffix=$([[ ${scale} == mini ]] || echo "_${scale}")
small=$([[ ${setting} == 1h ]] || echo "_${setting}")
: "${datadir:=data${suffix}${small}}" "${dumpdir:=dump${suffix}${small}}" "${expdir:=exp${suffix}}"
conf=conf/${scale}
results=$([[ ${scale} == mini ]] && echo . || echo "${expdir}") # each scale has a report of its own
raw=${dumpdir}/raw
manifest=${dumpdir}/manifest
lid=${expdir}/lid${small}
align=${expdir}/align_${regime}
read -ra parts <<<"${initial_parts}"
read -ra added <<<"${add_lang}"
read -ra trained <<<"${train_parts}"
start=(--model "${conf}/model.yaml" --regime "${regime}" --lora "${lora}" --init "${align}")
[[ -z ${initial_b} ]] || start+=(--initial_b "${initial_b}" --initial_parts "${parts[@]}")
addition=()
how="with ${lora}"
sft=${expdir}/sft_${lora}_${regime}${small}${tag}
scored=("${align}" "${sft}")
((stage != 6)) || scored=("${sft}") # one more system from an alignment that has its scores
if [[ -n ${add_lang}${init_from} ]]; then
    addition=(--init_from "${init_from%/}" --add_lang "${added[@]}" --bank_from "${bank_from}")
    addition+=(--train_parts "${trained[@]}")
    start=("${addition[@]}")
    how="to ${add_lang}"
    sft=${expdir}/$(basename "${init_from}")_add_${add_lang// /_}${tag}
    scored=("${sft}")
    : "${eval_lang:=${add_lang}}"
fi
[[ ${eval_lang} != all ]] || eval_lang=
read -ra evaluated <<<"${eval_lang}"
[[ ${alignment_only} == false ]] || scored=("${align}")
read -ra train_set <<<"${train_args}"
read -ra decode_set <<<"${decode_args}"

if [[ ${dry_run} == true ]]; then
    exec python3 -m zipperasr.plan --scale "${scale}" --setting "${setting}" --lora "${lora}" --regime "${regime}" \
        --gpu "${gpu}" --ngpu "${ngpu}" --num_nodes "${num_nodes}" --set "${train_set[@]}" --decode_set "${decode_set[@]}"
fi

python3 -m zipperasr.stages.preflight --conf "${conf}" --setting "${setting}" --lora "${lora}" --regime "${regime}" \
    --initial_parts "${parts[@]}" "${addition[@]}" --nj "${nj}" --nproc "${nproc}" --ngpu "${ngpu}" \
    --num_nodes "${num_nodes}" --node_rank "${node_rank}" --seed "${seed}" \
    --train_args "${train_set[@]}" --decode_args "${decode_set[@]}"

if in_stage 0 "corpora and backbones -> downloads, exp/backbones"; then
    on_cpu local.prepare --conf "${conf}" --setting "${setting}" --train_backbones "${train_backbones}" --nj "${nj}"
fi

if in_stage 1 "data directories: corpora -> ${datadir}"; then
    on_cpu zipperasr.stages.prepare_data --corpora "${conf}/corpora.yaml" --setting "${setting}" --out "${datadir}" \
        --strict_lists "${strict_lists}" --nj "${nj}"
fi

if in_stage 2 "audio: ${datadir} -> ${raw}"; then
    on_cpu zipperasr.stages.format_audio --data "${datadir}" --out "${raw}" --nj "${nj}"
fi

if in_stage 3 "manifest and packs: ${raw} -> ${manifest}"; then
    on_cpu zipperasr.stages.build_manifest --raw "${raw}" --model "${conf}/model.yaml" --out "${manifest}"
fi

if in_stage 4 "language embeddings: Whisper's decoder -> ${lid}"; then
    on_gpu zipperasr.stages.language_embeddings --model "${conf}/model.yaml" --manifest "${manifest}" --out "${lid}"
fi

if in_stage 5 "alignment: ${manifest} -> ${align}"; then
    on_all_gpus zipperasr.stages.train --phase align --model "${conf}/model.yaml" --config "${conf}/align.yaml" \
        --regime "${regime}" --manifest "${manifest}" --out "${align}" --seed "${seed}" --set "${train_set[@]}"
fi

if in_stage 6 "adaptation ${how}: ${init_from:-${align}} -> ${sft}"; then
    on_all_gpus zipperasr.stages.train --phase sft "${start[@]}" --config "${conf}/sft.yaml" --lid "${lid}" \
        --lid_mode "${lid_mode}" --manifest "${manifest}" --out "${sft}" --seed "${seed}" --set "${train_set[@]}"
fi

if in_stage 7 "decoding: ${scored[*]}"; then
    on_gpu zipperasr.stages.decode --exp "${scored[@]}" --config "${conf}/decode.yaml" --manifest "${manifest}" \
        --lang "${evaluated[@]}" --set "${decode_set[@]}"
fi

if in_stage 8 "scoring: ${scored[*]}"; then
    on_cpu zipperasr.stages.score --exp "${scored[@]}" --raw "${raw}"
fi

if in_stage 9 "report: ${expdir} -> ${results}/RESULTS.md, ${results}/report.html, ${expdir}/figures"; then
    on_cpu zipperasr.stages.report --exp "${expdir}" --data "${datadir}" --dump "${dumpdir}" --raw "${raw}" \
        --corpora "${conf}/corpora.yaml" --command "${INVOCATION}" --out "${results}/RESULTS.md" \
        ${benchmark:+--benchmark_out "${benchmark}"}
fi
