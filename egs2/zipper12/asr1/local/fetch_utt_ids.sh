#!/usr/bin/env bash
# Download the authors' utterance lists at the pinned commit, and verify each by its git blob id.
#
# Usage: local/fetch_utt_ids.sh [options] OUT
# OUT is the utt_ids directory of conf/full/corpora.yaml. Lists that exist and are correct are skipped. Lists that
# cannot be downloaded are reported at the end (exit status 1); stage 1 then samples the hours instead.
set -euo pipefail

from=https://raw.githubusercontent.com/YuCeong-May/Zipper-LoRA/a4628405c01e41a916b940a4c1424e4533026036/data/utt-id # address, or a directory
table=conf/utt_ids.tsv # git blob id and path of every list
. "$(dirname "$0")"/../../../../utils/log.sh
. "$(dirname "$0")"/../../../../utils/parse_options.sh

[[ $# -eq 1 ]] || options_error "wanted one directory, got '$*'"
out=$1

is_right() { [[ -f $2 && $(git hash-object --no-filters "$2") == "$1" ]]; }

fetch() {
    if [[ -d ${from} ]]; then
        [[ -f ${from}/$1 ]] && cp "${from}/$1" "$2"
    else
        curl --fail --silent --show-error --location --retry 3 --output "$2" "${from}/$1"
    fi
}

missing=()
count=0
while IFS=$'\t' read -r blob path; do
    [[ ${blob} == '#'* ]] && continue
    count=$((count + 1))
    is_right "${blob}" "${out}/${path}" && continue
    mkdir -p "$(dirname "${out}/${path}")"
    part=${out}/${path}.part
    if fetch "${path}" "${part}" && is_right "${blob}" "${part}"; then
        mv "${part}" "${out}/${path}"
    else
        rm -f "${part}"
        missing+=("${path}")
    fi
done <"${table}"

log "utterance lists: $((count - ${#missing[@]})) of ${count} are in ${out} and verified"
if ((${#missing[@]})); then
    printf '%s\n' "${missing[@]}" >&2
    die "${#missing[@]} lists could not be downloaded or differ from the pinned commit: ${from}"
fi
