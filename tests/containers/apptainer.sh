#!/usr/bin/env bash
# Runs Apptainer from a tree of Debian sid, the one Debian that has it: apptainer.sh COMMAND...
#
# It is entered by pivot_root, since Apptainer refuses a chroot, and as an ordinary user, since as
# root it asks for rights that a container lacks. This machine's files are under /host.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/containers/place.sh
source ./place.sh

tree=$place/sid
packages=ca-certificates,apptainer,squashfs-tools,fakeroot,fuse2fs,squashfuse,fuse-overlayfs,e2fsprogs

make_tree() {
    local scratch
    scratch=$(mktemp -d "$place/sid-XXXXXX")
    debootstrap --variant=minbase --include="$packages" sid "$scratch" >"$place/sid.log" || {
        rm -rf "$scratch"
        unavailable "Debian sid cannot be set up today (see $place/sid.log)"
    }
    chroot "$scratch" useradd --create-home --uid 1234 hpc
    echo hpc:100000:65536 | tee "$scratch/etc/subuid" >"$scratch/etc/subgid"
    mkdir "$scratch/host"
    chmod 755 "$scratch"
    mv "$scratch" "$tree"
}

make_place
have debootstrap=debootstrap
[ -d "$tree" ] || make_tree
cp /etc/hosts /etc/resolv.conf "$tree/etc/"
cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$tree/etc/ssl/certs/ca-certificates.crt"

# shellcheck disable=SC2016  # expanded inside
exec unshare --mount --propagation private sh -euc '
    tree=$1
    shift
    mount --bind "$tree" "$tree"
    mount --rbind / "$tree/host"
    mount -t proc proc "$tree/proc"
    mount -t sysfs -o ro sysfs "$tree/sys"
    mount -t tmpfs -o mode=755 tmpfs "$tree/dev"
    mkdir "$tree/dev/shm" "$tree/dev/pts"
    mount -t tmpfs tmpfs "$tree/dev/shm"
    mount -t devpts devpts "$tree/dev/pts"
    for node in null zero full random urandom tty; do
        touch "$tree/dev/$node"
        mount --bind "/dev/$node" "$tree/dev/$node"
    done
    ln -s /proc/self/fd "$tree/dev/fd"
    for number in 0:stdin 1:stdout 2:stderr; do
        ln -s "/proc/self/fd/${number%:*}" "$tree/dev/${number#*:}"
    done
    mknod -m 666 "$tree/dev/fuse" c 10 229
    mkdir -p "$tree/old"
    cd "$tree"
    pivot_root . old
    umount -l /old
    cd /home/hpc
    exec setpriv --reuid 1234 --regid 1234 --clear-groups --reset-env "$@"
' sh "$tree" "$@"
