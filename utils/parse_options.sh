# shellcheck shell=bash
# Sourced by a script to set its variables from the command line. Works like Kaldi's parse_options.sh, without eval.
#
# A script's options are its lines `name=default  # meaning` above the line that sources this file. `--a-b 1`,
# `--a_b 1` and `--a-b=1` are equivalent. A number stays a number, and true/false a boolean. An unknown option or a
# missing value exits with status 2; `--help` prints the script's head comment and its options. Arguments after the
# options stay in "$@".
#
# A script may define two associative arrays before it sources this file: `option_alias` (other name -> option) and
# `option_hint` (name of an option that the script does not have -> what to use instead).

_options_script=${BASH_SOURCE[1]}
declare -A _option_default=() _option_meaning=()
_option_names=()
declare -A option_alias option_hint # keeps what the script has set

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
    local line name default
    while IFS= read -r line; do
        [[ ${line} == '#!'* ]] && continue
        [[ ${line} == '#'* ]] || break
        line=${line#\#}
        echo "${line# }"
    done <"${_options_script}"
    printf '\nOptions [default]:\n'
    for name in "${_option_names[@]}"; do
        default=${_option_default[${name}]:+ [${_option_default[${name}]}]}
        printf '  --%-18s %s\n' "${name}" "${_option_meaning[${name}]}${default}"
    done
}

options_error() {
    echo "${0##*/}: error: $*; ${0##*/} --help lists the options" >&2
    exit 2
}

_unknown_option() {
    local hint=''
    [[ ! $1 =~ ^[a-z_]+$ ]] || hint=${option_hint[$1]-}
    [[ -z ${hint} ]] || options_error "there is no --$1: ${hint}"
    options_error "unknown option --$1"
}

_is_option() { [[ $1 =~ ^[a-z][a-z0-9_]*$ && -v _option_default[$1] ]]; }

_set_option() {
    local name=$1 value=$2
    case ${_option_default[${name}]} in
        true | false)
            [[ ${value} =~ ^(true|false)$ ]] || options_error "--${name}: got '${value}', wanted true or false"
            ;;
        *[!0-9]* | '') ;;
        *) [[ ${value} =~ ^-?[0-9]+$ ]] || options_error "--${name}: got '${value}', wanted an integer" ;;
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
    [[ ! ${_option} =~ ^[a-z_]+$ ]] || _option=${option_alias[${_option}]-${_option}}
    _is_option "${_option}" || _unknown_option "${_option}"
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
