# shellcheck shell=bash
# Sourced to select the job runner, which is called as in Kaldi: `CMD [options] [JOB=1:N] LOG COMMAND ...`.
#
#   CMD_BACKEND=local ./run.sh    runs jobs on this machine (default)
#   CMD_BACKEND=slurm ./run.sh    submits jobs to Slurm; add the options of your cluster, such as --partition gpu

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
