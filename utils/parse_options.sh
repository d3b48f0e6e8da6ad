# shellcheck shell=bash
# Sourced by a script: sets its variables from the command line, as Kaldi's does, but without eval.
#
# A script's options are its lines `name=default  # meaning` above the line that sources this file. `--a-b 1`,
# `--a_b 1` and `--a-b=1` are alike. Numbers and true/false must stay such. An unknown option or a missing value exits
# with 2; `--help` prints the script's head comment and its options. What follows the options stays in "$@".

_options_script=${BASH_SOURCE[1]}
declare -A _option_default=() _option_meaning=()
_option_names=()

_read_options() {
    local line
    while IFS= read -r line; do
        [[ ${line} == *parse_options.sh* && ${line} != \#* ]] && return
        [[ ${line} =~ ^([a-z][a-z0-9_]*)=([^#]*)(#\ *(.*))?$ ]] || continue
        local name=${BASH_REMATCH[1]}
        _option_names+=("${name}")
        _option_default[${name}]=${!name-}
        _option_meaning[${name}]=${BASH_REMATCH[4]}
    done <"${_options_script}"
}

_print_help() {
    local line name
    while IFS= read -r line; do
        [[ ${line} == '#!'* ]] && continue
        [[ ${line} == '#'* ]] || break
        line=${line#\#}
        echo "${line# }"
    done <"${_options_script}"
    printf '\nOptions:\n'
    for name in "${_option_names[@]}"; do
        printf '  --%-18s %s [%s]\n' "${name}" "${_option_meaning[${name}]}" "${_option_default[${name}]}"
    done
}

# Levenshtein's distance of two words
_distance() {
    local a=$1 b=$2 i j cost above
    local -a row=()
    for ((j = 0; j <= ${#b}; j++)); do row[j]=$j; done
    for ((i = 1; i <= ${#a}; i++)); do
        local diagonal=${row[0]}
        row[0]=$i
        for ((j = 1; j <= ${#b}; j++)); do
            above=${row[j]}
            cost=$((diagonal + 1))
            [[ ${a:i-1:1} == "${b:j-1:1}" ]] && cost=${diagonal}
            ((above + 1 < cost)) && cost=$((above + 1))
            ((row[j - 1] + 1 < cost)) && cost=$((row[j - 1] + 1))
            row[j]=${cost}
            diagonal=${above}
        done
    done
    echo "${row[${#b}]}"
}

_nearest_option() {
    local name best='' least=99 distance
    for name in "${_option_names[@]}"; do
        distance=$(_distance "$1" "${name}")
        if ((distance < least)); then
            least=${distance}
            best=${name}
        fi
    done
    echo "${best}"
}

options_error() {
    echo "${0##*/}: error: $*; ${0##*/} --help lists the options" >&2
    exit 2
}

_is_option() { [[ $1 =~ ^[a-z][a-z0-9_]*$ && -v _option_default[$1] ]]; }

_set_option() {
    local name=$1 value=$2
    case ${_option_default[${name}]} in
        true | false)
            [[ ${value} == true || ${value} == false ]] || options_error "--${name}: got '${value}', wanted true or false"
            ;;
        *[!0-9]* | '') ;;
        *) [[ ${value} =~ ^-?[0-9]+$ ]] || options_error "--${name}: got '${value}', wanted a whole number" ;;
    esac
    printf -v "${name}" %s "${value}"
}

_read_options
while [[ $# -gt 0 && $1 == --* ]]; do
    _option=${1%%=*}
    _option=${_option#--}
    _option=${_option//-/_}
    if [[ ${_option} == help ]]; then
        _print_help
        exit 0
    fi
    [[ -n ${_option} ]] || { shift && break; }
    _is_option "${_option}" || options_error "unknown option --${_option}, did you mean --$(_nearest_option "${_option}")?"
    if [[ $1 == *=* ]]; then
        _set_option "${_option}" "${1#*=}"
        shift
        continue
    fi
    _next=${2-}
    _next=${_next#--}
    if [[ $# -lt 2 ]] || { [[ $2 == --* ]] && _is_option "${_next//-/_}"; }; then
        options_error "--${_option} needs a value"
    fi
    _set_option "${_option}" "$2"
    shift 2
done
unset _option _next
