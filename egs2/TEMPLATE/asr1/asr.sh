#!/usr/bin/env bash
# Train and evaluate a multilingual speech recogniser with Zipper-LoRA.
#
# Usage: ./asr.sh [--stage N] [--stop-stage N] [--scale mini|rehearsal|full] [options]
#
# Stages:
#   0  corpora and backbones: made here, or checked at full scale
#   1  Kaldi data directories
#   2  16 kHz audio, cut into utterances
#   3  manifests: one table of utterances and token counts per data set
#   4  language embeddings from Whisper's decoder
#   5  alignment (align): train the encoder, the projector and the LLM's LoRA
#   6  adaptation (sft): train the encoder's LoRA (--lora), the projector and the LLM's LoRA
#   7  decoding
#   8  scoring
#   9  report: RESULTS.md, figures, report.html
#
# Finished stages are skipped; interrupted ones resume. docs/training.md lists the Python module of each stage, and
# docs/espnet.md maps ESPnet's and Kaldi's options to these.
set -euo pipefail

stage=0               # first stage to run
stop_stage=9          # last stage to run
scale=mini            # mini (synthetic speech, small models), rehearsal (full configuration, random backbones) or full
dry_run=false         # print model sizes, memory, training steps and missing files, then exit
gpu=a800              # GPU model for --dry_run: a800, a100, h100, h200
setting=1h            # training hours per low-resource language: 1h or 30h
lora=zipper_soft      # LoRA of the encoder: vanilla, independent, flylora, zipper_static, zipper_hard, zipper_soft, none
regime=chunked        # encoder context: chunked, or full for the whole utterance
initial_b=            # trained zipper_soft model to initialise B from (the paper's Initial-B)
initial_parts=b       # parameters to copy from --initial_b: b, a, router, or all; such as "b router"
init_from=            # trained model to fine-tune, or to extend with --add_lang (skips stage 5)
add_lang=             # codes of the languages to add, such as "sw" or "sw pl"; needs --init_from
bank_from=nearest     # initial weights of an added language: nearest (the most similar language's), shared or zero
train_parts=          # parts to train with --init_from: bank, own_projector, router, shared, projector, llm, all   [bank; with --add_lang also own_projector]
eval_lang=            # codes of the languages to decode and score, or all   [all, or the added languages]
lid_mode=token        # language embedding that the router uses: token or state
seed=1                # random seed
tag=                  # suffix of the adapted model's directory, such as seed2
inference_tag=        # suffix of the decoding directories
asr_config=           # training configuration of stage 6   [conf/SCALE/sft.yaml]
inference_config=     # decoding configuration   [conf/SCALE/decode.yaml]
train_args=           # overrides of the training configurations, such as "lr=1e-3 epochs=2"
decode_args=          # overrides of the decoding configuration, such as "beam=4 nbest=4"
alignment_only=false  # skip stage 6; decode and score the model of stage 5
adaptation_only=false # decode and score only the model of stage 6
alignment_sets=own    # test sets decoded with the model of stage 5: own, or all for those of the adaptation too
skip_data_prep=false  # skip stages 0 to 3
skip_train=false      # skip stages 4 to 6
skip_eval=false       # skip stages 7 to 9
nj=$(env -u OMP_NUM_THREADS nproc) # parallel jobs for data preparation and scoring
inference_nj=         # parallel jobs for decoding and language embeddings   [--ngpu / --inference_ngpu; 1 on the CPU]
inference_ngpu=1      # GPUs of each of these jobs, for tensor_parallel in the decoding configuration
gpu_inference=        # run these on GPUs, one job on each: true or false   [true if --ngpu is at least 1]
retries=1             # how often parallel jobs that failed run again
ngpu=0                # GPUs per machine; 0 uses the CPU
nproc=2               # training processes if --ngpu is 0
num_nodes=1           # number of machines for training
node_rank=0           # rank of this machine, from 0; set automatically under Slurm
master=               # host:port of machine 0   [localhost:29500]
hostfile=             # DeepSpeed host file; replaces --num_nodes and --node_rank (needs pdsh and ssh)
datadir=              # data directories   [data, data_full, with _30h]
dumpdir=              # audio and manifest   [dump, dump_full, with _30h]
expdir=               # models and results   [exp, exp_full]
strict_lists=false    # treat every defect of the utterance lists as an error
max_missing_share=0.01    # largest share of a set's utterances that may lack audio, before stage 1 stops
max_quarantine_share=0.01 # largest share of a set's audio that may be unreadable, before stage 2 stops
train_backbones=false # mini scale: pretrain the backbones instead of using those that ship with the project
benchmark=            # file to which stage 9 also writes the time and memory of each stage

# ESPnet's names for the same options
declare -A option_alias=([asr_tag]=tag [asr_args]=train_args [inference_args]=decode_args)

INVOCATION=${INVOCATION:-"./${0##*/} $*"} # the command that the report shows
. ./path.sh
. ./cmd.sh
. utils/log.sh
. utils/parse_options.sh
. utils/stage.sh
[[ $# -eq 0 ]] || options_error "unexpected argument '$1'"

suffix=$([[ ${scale} == mini ]] || echo "_${scale}")
small=$([[ ${setting} == 1h ]] || echo "_${setting}")
[[ -z ${tag} || ${tag} == _* ]] || tag=_${tag}
: "${datadir:=data${suffix}${small}}" "${dumpdir:=dump${suffix}${small}}" "${expdir:=exp${suffix}}"
conf=conf/${scale}
: "${asr_config:=${conf}/sft.yaml}" "${inference_config:=${conf}/decode.yaml}"
results=$([[ ${scale} == mini ]] && echo . || echo "${expdir}") # each scale has its own report
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
how=$([[ ${lora} == none ]] && echo "without encoder LoRA" || echo "with ${lora}")
sft=${expdir}/sft_${lora}_${regime}${small}${tag}
scored=("${align}" "${sft}")
scored_phases=(align sft)
if ((stage == 6)) || [[ ${adaptation_only} == true ]]; then # the alignment already has its scores
    scored=("${sft}") scored_phases=(sft)
fi
if [[ -n ${add_lang}${init_from} ]]; then
    addition=(--init_from "${init_from%/}" --add_lang "${added[@]}" --bank_from "${bank_from}")
    addition+=(--train_parts "${trained[@]}")
    start=("${addition[@]}")
    [[ -n ${add_lang} ]] && how="to ${add_lang}" || how="by fine-tuning"
    [[ -n ${add_lang} ]] && continued=add_${add_lang// /_} || continued=tuned
    sft=${expdir}/$(basename "${init_from}")_${continued}${tag}
    scored=("${sft}") scored_phases=(sft)
    [[ -n ${add_lang} ]] || scored=("${init_from%/}" "${sft}") # before and after
    : "${eval_lang:=${add_lang}}"
fi
[[ ${eval_lang} != all ]] || eval_lang=
read -ra evaluated <<<"${eval_lang}"
[[ ${alignment_only} == false ]] || scored=("${align}") scored_phases=(align)
read -ra train_set <<<"${train_args}"
read -ra decode_set <<<"${decode_args}"

if [[ ${dry_run} == true ]]; then
    exec python3 -m zipperasr.plan --scale "${scale}" --setting "${setting}" --lora "${lora}" --regime "${regime}" \
        --sft "${asr_config}" --decode "${inference_config}" --gpu "${gpu}" --ngpu "${ngpu}" \
        --num_nodes "${num_nodes}" --set "${train_set[@]}" --decode_set "${decode_set[@]}"
fi

python3 -m zipperasr.stages.preflight --stages "${stages[@]}" --conf "${conf}" --setting "${setting}" \
    --lora "${lora}" --regime "${regime}" --lid_mode "${lid_mode}" ${initial_b:+--initial_b "${initial_b}"} \
    --initial_parts "${parts[@]}" "${addition[@]}" \
    --eval_lang "${evaluated[@]}" --eval_phases "${scored_phases[@]}" --alignment_sets "${alignment_sets}" \
    --seed "${seed}" \
    --max_missing_share "${max_missing_share}" --max_quarantine_share "${max_quarantine_share}" \
    --sft_config "${asr_config}" --train_args "${train_set[@]}" \
    --decode_config "${inference_config}" --decode_args "${decode_set[@]}" \
    --nj "${nj}" --inference_nj "${inference_nj}" --inference_ngpu "${inference_ngpu}" --retries "${retries}" \
    --gpu_inference "${gpu_inference}" \
    --nproc "${nproc}" --ngpu "${ngpu}" --num_nodes "${num_nodes}" --node_rank "${node_rank}" \
    --master "${master}" --hostfile "${hostfile}" --cuda_cmd "${cuda_cmd}"
: "${master:=localhost:29500}"

if in_stage 0 "corpora and backbones -> downloads, exp/backbones"; then
    on_cpu local.prepare --conf "${conf}" --setting "${setting}" --train_backbones "${train_backbones}" --nj "${nj}"
fi

if in_stage 1 "data directories: corpora -> ${datadir}"; then
    on_cpu zipperasr.stages.prepare_data --corpora "${conf}/corpora.yaml" --setting "${setting}" --out "${datadir}" \
        --strict_lists "${strict_lists}" --max_missing_share "${max_missing_share}" --nj "${nj}"
fi

if in_stage 2 "audio: ${datadir} -> ${raw}"; then
    on_cpu_shards zipperasr.stages.format_audio --data "${datadir}" --out "${raw}" --nj 1 \
        --max_quarantine_share "${max_quarantine_share}"
fi

if in_stage 3 "manifests: ${raw} -> ${manifest}"; then
    on_cpu zipperasr.stages.build_manifest --raw "${raw}" --model "${conf}/model.yaml" --out "${manifest}" \
        --clips "${conf}/clips.yaml" --nj "${nj}"
fi

if in_stage 4 "language embeddings: Whisper's decoder -> ${lid}"; then
    on_inference_shards zipperasr.stages.language_embeddings --model "${conf}/model.yaml" --manifest "${manifest}" \
        --out "${lid}" --lora "${lora}"
fi

if in_stage 5 "alignment: ${manifest} -> ${align}"; then
    on_all_gpus zipperasr.stages.train --phase align --model "${conf}/model.yaml" --config "${conf}/align.yaml" \
        --regime "${regime}" --manifest "${manifest}" --out "${align}" --setting "${setting}" --seed "${seed}" \
        --set "${train_set[@]}"
fi

if in_stage 6 "adaptation ${how}: ${init_from:-${align}} -> ${sft}"; then
    on_all_gpus zipperasr.stages.train --phase sft "${start[@]}" --config "${asr_config}" --lid "${lid}" \
        --lid_mode "${lid_mode}" --manifest "${manifest}" --out "${sft}" --setting "${setting}" --tag "${tag}" \
        --seed "${seed}" --set "${train_set[@]}"
fi

if in_stage 7 "decoding: ${scored[*]}"; then
    on_inference_shards zipperasr.stages.decode --exp "${scored[@]}" --config "${inference_config}" \
        --manifest "${manifest}" --inference_tag "${inference_tag}" --alignment_sets "${alignment_sets}" \
        --lang "${evaluated[@]}" --set "${decode_set[@]}"
fi

if in_stage 8 "scoring: ${scored[*]}"; then
    on_cpu_shards zipperasr.stages.score --exp "${scored[@]}" --raw "${raw}"
fi

if in_stage 9 "report: ${expdir} -> ${results}/RESULTS.md, ${results}/report.html, ${expdir}/figures"; then
    on_cpu zipperasr.stages.report --exp "${expdir}" --data "${datadir}" --dump "${dumpdir}" --raw "${raw}" \
        --corpora "${conf}/corpora.yaml" --command "${INVOCATION}" --out "${results}/RESULTS.md" \
        ${benchmark:+--benchmark_out "${benchmark}"}
fi
