#!/usr/bin/env bash
# A SLURM of one node on loopback, everything of it in one folder:
#   slurm_on_loopback.sh start FOLDER   starts what does not run yet
#   slurm_on_loopback.sh stop FOLDER    ends its jobs, then its daemons
#   slurm_on_loopback.sh hold FOLDER    starts, says "ready", stops when standard input ends
# Its commands find it by SLURM_CONF=FOLDER/slurm.conf. It needs no root, systemd or network; the
# partitions are those of docs/plugins, the one GPU is /dev/null.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"

usage() {
    sed -n '2,5s/^# //p' "$0" >&2
    exit 2
}

[ $# -eq 2 ] || usage
mkdir -p "$2"
folder=$(cd "$2" && pwd)
export SLURM_CONF=$folder/slurm.conf
user=$(id -un)

# True when the daemon of that name is the one in its pid file, and no later process or dead one,
# which has no command line.
runs() {
    local pid
    pid=$(cat "$folder/$1.pid" 2>/dev/null) || return 1
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ] && grep --quiet . "/proc/$pid/cmdline"
}

wait_until() {
    local tries
    for ((tries = 0; tries < 300; tries++)); do
        if "$@"; then
            return
        fi
        sleep 0.1
    done
    return 1
}

# A port of 127.0.0.1 on which nothing answers.
free_port() {
    local port
    while port=$((20000 + RANDOM % 12000)); do
        if ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
}

write_configuration() {
    local memory_mb
    memory_mb=$(awk '/^MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
    echo "Name=gpu File=/dev/null" >"$folder/gres.conf"
    cat >"$SLURM_CONF" <<END
ClusterName=loopback
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=1
MpiDefault=none
ReturnToService=2
MinJobAge=3600
KillWait=5
GresTypes=gpu
NodeName=localhost NodeAddr=127.0.0.1 CPUs=$(getconf _NPROCESSORS_ONLN) RealMemory=$memory_mb Gres=gpu:1 State=UNKNOWN
PartitionName=short Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=ALL MaxTime=INFINITE State=UP
END
}

is_ready() {
    [ "$(sinfo --noheader --partition=short --format=%t 2>/dev/null)" = idle ]
}

start() {
    if runs munged && runs slurmctld && runs slurmd; then
        return
    fi
    # A daemon that does not come up leaves nothing behind.
    trap stop EXIT
    mkdir -p "$folder/state" "$folder/spool"
    if ! [ -e "$folder/munge.key" ]; then
        (umask 077 && head --bytes=1024 /dev/urandom >"$folder/munge.key")
    fi
    [ -e "$SLURM_CONF" ] || write_configuration
    # Forced, since a folder that others cannot enter is meant.
    runs munged || munged --force --socket="$folder/munge.socket" --key-file="$folder/munge.key" \
        --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" \
        --seed-file="$folder/munge.seed" 2>>"$folder/munged.log"
    runs slurmctld || slurmctld -i -f "$SLURM_CONF"
    runs slurmd || slurmd -N localhost -f "$SLURM_CONF"
    if ! wait_until is_ready; then
        tail -n 20 "$folder"/*.log >&2
        echo "SLURM did not come up." >&2
        exit 1
    fi
    trap - EXIT
}

has_no_jobs() {
    [ -z "$(squeue --noheader 2>/dev/null)" ]
}

stop() {
    local name
    if runs slurmctld && runs slurmd; then
        # Without their daemon jobs would run on.
        scancel --user="$user" || true
        wait_until has_no_jobs || true
    fi
    for name in slurmd slurmctld munged; do
        if runs "$name"; then
            kill "$(cat "$folder/$name.pid")"
            wait_until is_gone "$name" || kill -KILL "$(cat "$folder/$name.pid")"
        fi
        rm -f "$folder/$name.pid"
    done
}

is_gone() {
    ! runs "$1"
}

hold() {
    start
    trap stop EXIT
    trap 'exit 130' INT TERM HUP
    echo ready
    # The end of standard input is also the end of whoever started this, however it came.
    cat >/dev/null
}

case $1 in
start | stop | hold) "$1" ;;
*) usage ;;
esac
