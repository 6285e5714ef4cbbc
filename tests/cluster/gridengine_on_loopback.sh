#!/usr/bin/env bash
# A Grid Engine of one node, everything of it in one folder:
#   gridengine_on_loopback.sh hold FOLDER   starts, says "ready", stops when standard input ends
# Its commands find it by the variables in FOLDER/environment. It needs root, no systemd and no
# network; its ports listen on all interfaces (it cannot be told otherwise), and it obeys this host.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"

if [ $# -ne 2 ] || [ "$1" != hold ]; then
    sed -n '2,5s/^# //p' "$0" >&2
    exit 2
fi
mkdir -p "$2"
folder=$(cd "$2" && pwd)
programs=/usr/lib/gridengine
common=/usr/share/gridengine

# A port on which nothing answers.
free_port() {
    local port
    while port=$((20000 + RANDOM % 12000)); do
        if ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
}

wait_until() {
    local tries
    for ((tries = 0; tries < 300; tries++)); do
        if "$@" >/dev/null 2>&1; then
            return
        fi
        sleep 0.1
    done
    tail -n 20 "$folder"/*.log >&2
    echo "Grid Engine did not come up." >&2
    exit 1
}

is_ready() {
    [ "$(qstat -f | grep --count 'all.q@localhost .* 0/0/')" = 1 ] && ! qstat -f | grep 'lx.* [auE]'
}

SGE_QMASTER_PORT=$(free_port)
SGE_EXECD_PORT=$(free_port)
# SGE_ND keeps the daemons in the foreground.
export SGE_ROOT=$folder SGE_CELL=default SGE_ND=1 SGE_QMASTER_PORT SGE_EXECD_PORT
printf '%s\n' "SGE_ROOT=$folder" "SGE_CELL=default" "SGE_QMASTER_PORT=$SGE_QMASTER_PORT" \
    "SGE_EXECD_PORT=$SGE_EXECD_PORT" >"$folder/environment"

mkdir -p "$folder"/default/common "$folder"/spool/{db,execd,qmaster/job_scripts} "$folder/bin" \
    "$folder/utilbin"
ln -sfn $common/util "$folder/util"
for place in bin utilbin; do
    ln -sfn $programs "$folder/$place/lx-amd64"
done
echo localhost >"$folder/default/common/act_qmaster"
echo "localhost $(hostname)" >"$folder/default/common/host_aliases"
sed -e "s|^admin_user .*|admin_user $(id -un)|" -e "s|^ignore_fqdn .*|ignore_fqdn true|" \
    -e "s|^spooling_params .*|spooling_params $folder/spool/db|" \
    -e "s|^qmaster_spool_dir .*|qmaster_spool_dir $folder/spool/qmaster|" \
    $common/default-bootstrap >"$folder/default/common/bootstrap"
$common/scripts/init_cluster "$folder" default "$folder/spool/db" "$(id -un)" >"$folder/init.log" 2>&1

stop() {
    qdel -u "$(id -un)" >/dev/null 2>&1 || true
    sleep 2
    kill "${daemons[@]}" 2>/dev/null || true
    wait
}
daemons=()
trap stop EXIT
trap 'exit 130' INT TERM HUP

sge_qmaster >"$folder/qmaster.log" 2>&1 </dev/null &
daemons+=($!)
wait_until qconf -sh
{
    qconf -as localhost || true
    qconf -sconf | grep -v '^#' | sed -e 's|^min_\([ug]\)id .*|min_\1id 0|' \
        -e "s|^execd_spool_dir .*|execd_spool_dir $folder/spool/execd|" \
        -e 's|^load_report_time .*|load_report_time 00:00:05|' >"$folder/global"
    qconf -Mconf "$folder/global"
    qconf -ssconf | sed -e 's|^schedule_interval .*|schedule_interval 0:0:1|' \
        -e 's|^queue_sort_method .*|queue_sort_method seqno|' >"$folder/scheduler"
    qconf -Msconf "$folder/scheduler"
    printf '%s\n' 'hostname localhost' 'load_scaling NONE' 'complex_values NONE' \
        'user_lists NONE' 'xuser_lists NONE' 'projects NONE' 'xprojects NONE' \
        'usage_scaling NONE' 'report_variables NONE' >"$folder/host"
    qconf -Ae "$folder/host"
    printf '%s\n' 'group_name @allhosts' 'hostlist localhost' >"$folder/group"
    qconf -Ahgrp "$folder/group"
    # The template of Grid Engine, for two jobs at once however busy this machine is.
    qconf -sq | sed -e 's|^qname .*|qname all.q|' -e 's|^hostlist .*|hostlist @allhosts|' \
        -e 's|^load_thresholds .*|load_thresholds NONE|' -e 's|^slots .*|slots 2|' \
        -e 's|^shell .*|shell /bin/sh|' -e 's|^pe_list .*|pe_list NONE|' >"$folder/queue"
    qconf -Aq "$folder/queue"
} >"$folder/qconf.log" 2>&1
sge_execd >"$folder/execd.log" 2>&1 </dev/null &
daemons+=($!)
wait_until is_ready
echo ready
# The end of standard input is also the end of whoever started this, however it came.
cat >/dev/null
