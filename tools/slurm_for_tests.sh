#!/usr/bin/env bash
# A Slurm cluster on this machine, for the tests: a controller and the nodes n1 and n2, as if with 8 cores each.
#
# Usage: tools/slurm_for_tests.sh install      installs the packages of Debian or Ubuntu
#        tools/slurm_for_tests.sh start DIR    starts the cluster; its files and logs are in DIR
#        tools/slurm_for_tests.sh stop DIR
# Jobs go to it with SLURM_CONF=DIR/slurm.conf in the environment. Needs root. A Slurm that is installed on this machine
# keeps its own configuration and daemons.
set -euo pipefail
cd "$(dirname "$0")/.."
. utils/log.sh

packages=(munge slurmctld slurmd slurm-client)

[[ $(id -u) -eq 0 ]] || die "needs root"

port() { # a free TCP port
    python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'
}

write_configuration() {
    local host
    host=$(hostname -s)
    # cred_expire: a requeued job starts again only after the credential of its first start has expired
    cat >"${dir}/slurm.conf" <<CONF
ClusterName=tests
SlurmctldHost=${host}(127.0.0.1)
SlurmctldPort=$(port)
SlurmUser=root
AuthInfo=socket=${dir}/munge.socket,cred_expire=10
StateSaveLocation=${dir}/state
SlurmctldPidFile=${dir}/slurmctld.pid
SlurmctldLogFile=${dir}/slurmctld.log
SlurmdPidFile=${dir}/slurmd.%n.pid
SlurmdLogFile=${dir}/slurmd.%n.log
SlurmdSpoolDir=${dir}/spool.%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,batch_sched_delay=0
ReturnToService=2
SlurmdParameters=config_overrides
MailProg=/bin/true
NodeName=n1 NodeHostname=${host} NodeAddr=127.0.0.1 Port=$(port) CPUs=8
NodeName=n2 NodeHostname=${host} NodeAddr=127.0.0.1 Port=$(port) CPUs=8
PartitionName=tests Nodes=n1,n2 Default=YES LLN=YES MaxTime=INFINITE State=UP
CONF
}

find_programs() {
    local program
    for program in munged slurmctld slurmd sbatch; do
        command -v "${program}" >/dev/null || {
            log "${program} not found"
            return 1
        }
    done
}

start() {
    find_programs || die "run tools/slurm_for_tests.sh install"
    mkdir -p "${dir}"/{state,spool.n1,spool.n2}
    chmod go-w "${dir}"
    write_configuration
    export SLURM_CONF=${dir}/slurm.conf
    head -c 1024 /dev/urandom >"${dir}/munge.key"
    chmod 400 "${dir}/munge.key"
    munged --key-file="${dir}/munge.key" --socket="${dir}/munge.socket" --pid-file="${dir}/munge.pid" \
        --log-file="${dir}/munge.log" --seed-file="${dir}/munge.seed" --force 2>>"${dir}/munge.log"
    slurmctld -c
    slurmd -c -N n1
    slurmd -c -N n2
    for ((tries = 0; tries < 300; tries++)); do
        [[ $(sinfo --noheader --format=%t 2>/dev/null) != idle ]] || return 0
        sleep 0.1
    done
    die "the nodes are not ready: $(sinfo --noheader --format='%t %E' 2>&1 | paste -sd ';'); see the logs in ${dir}"
}

stop() {
    local file pid
    for file in "${dir}"/slurmd.n*.pid "${dir}"/slurmctld.pid "${dir}"/munge.pid; do
        [[ -e ${file} ]] || continue
        pid=$(<"${file}")
        kill "${pid}" 2>/dev/null || continue
        for ((tries = 0; tries < 100; tries++)); do
            kill -0 "${pid}" 2>/dev/null || continue 2
            sleep 0.1
        done
        kill -KILL "${pid}" 2>/dev/null || true
    done
}

case "${1-} $#" in
    "install 1")
        ! find_programs 2>/dev/null || exit 0
        export DEBIAN_FRONTEND=noninteractive
        command -v apt-get >/dev/null || die "apt-get not found; install munge and Slurm by other means"
        quick=(-qq -o Acquire::Retries=1 -o Acquire::http::Timeout=30) # a machine without a network
        apt-get "${quick[@]}" update && apt-get "${quick[@]}" install -y --no-install-recommends "${packages[@]}" >/dev/null
        ;;
    "start 2" | "stop 2")
        dir=$(realpath -m "$2")
        "$1"
        ;;
    *) die "wanted install, start DIR or stop DIR, got '$*'" ;;
esac
