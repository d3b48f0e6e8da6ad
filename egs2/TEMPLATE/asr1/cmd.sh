# shellcheck shell=bash
# Sourced: how commands run, in Kaldi's calling form `CMD [options] [JOB=1:N] LOG COMMAND ...`.
#
#   CMD_BACKEND=local ./run.sh    on this machine (the default)
#   CMD_BACKEND=slurm ./run.sh    by Slurm; add what your cluster wants, such as --partition gpu --mem 64G

# shellcheck disable=SC2034
case ${CMD_BACKEND:-local} in
    local)
        train_cmd=utils/run.sh
        cuda_cmd=utils/run.sh
        ;;
    slurm)
        train_cmd="utils/slurm.sh --num_threads 4"
        cuda_cmd="utils/slurm.sh --num_threads 8"
        ;;
    *)
        echo "cmd.sh: error: unknown CMD_BACKEND '${CMD_BACKEND}'; choose from local, slurm" >&2
        exit 2
        ;;
esac
