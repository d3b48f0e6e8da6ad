#!/usr/bin/env bash
# Create a recipe that shares the stages by link.
#
# Usage: egs2/TEMPLATE/asr1/setup.sh egs2/NAME/asr1
# The new recipe has its own run.sh (settings), conf/ (a copy to edit) and local/ (with links to stage 0's modules).
set -euo pipefail

template=$(cd "$(dirname "$0")" && pwd)
. "${template}/../../../utils/log.sh"
recipe=${1-}
case ${recipe} in
    --help | -h) sed -n '2,6s/^# \{0,1\}//p' "$0" && exit ;;
esac
[[ ${recipe} =~ (^|/)egs2/[A-Za-z0-9_]+/asr1/?$ ]] || die "got '${recipe}', wanted egs2/NAME/asr1"
[[ ! -e ${recipe} ]] || die "${recipe} already exists"
[[ $(realpath -m "${recipe}/../..") == "$(realpath "${template}/../..")" ]] || die "${recipe} is not in this project"

mkdir -p "${recipe}/local"
for script in asr.sh path.sh cmd.sh; do
    ln -s "../../TEMPLATE/asr1/${script}" "${recipe}/${script}"
done
ln -s ../../../utils "${recipe}/utils"
for name in prepare.py mini rehearsal; do
    ln -s "../../../zipper12/asr1/local/${name}" "${recipe}/local/${name}"
done
cp -r "${template}/../../zipper12/asr1/conf" "${recipe}/conf"
cp "${template}/../../zipper12/asr1/run.sh" "${recipe}/run.sh"
log "created ${recipe}; next, edit its run.sh, conf/languages.tsv and conf/datasets.tsv"
