#!/usr/bin/env bash
# Builds the Dockerfile without a daemon and without a registry: buildah, on a Debian made here.
# The base is kept, and so are the layers, for the next time.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/containers/place.sh
source tests/containers/place.sh

suite=bookworm
base=localhost/fmmtc-base:$suite
image=localhost/fmmtc:test

make_place
have debootstrap=debootstrap buildah=buildah podman=podman runc=runc
storage=(--root "$place/storage" --runroot "$place/run" --storage-driver overlay)

# pip in the build sees what pip on this machine sees; none of it stays in the image.
folders=$(pip_configuration "$place/pip.conf")
certificates=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
binds=(--volume "$certificates:/etc/ssl/certs/ca-certificates.crt:ro"
    --volume "$place/pip.conf:/etc/pip.conf:ro")
for folder in $folders; do
    binds+=(--volume "$folder:$folder:ro")
done

if ! podman "${storage[@]}" image exists "$base"; then
    echo "A base of Debian $suite, once:"
    scratch=$(mktemp -d "$place/base-XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    debootstrap --variant=minbase --include=python3,python3-pip,python3-venv,ca-certificates \
        "$suite" "$scratch/root" >"$place/debootstrap.log" ||
        unavailable "no Debian mirror answers (see $place/debootstrap.log)"
    rm -rf "$scratch"/root/var/cache/apt/archives/*.deb "$scratch"/root/var/lib/apt/lists/* \
        "$scratch"/root/dev/*
    # Apptainer binds only to what is there.
    touch "$scratch/root/etc/pip.conf"
    for folder in $folders; do
        mkdir -p "$scratch/root$folder"
    done
    tar -C "$scratch/root" -c . | podman "${storage[@]}" import - "$base"
fi

buildah "${storage[@]}" build --isolation chroot --layers --build-arg BASE_IMAGE="$base" \
    "${binds[@]}" --tag "$image" .
# Layers of older builds would fill the disk.
podman "${storage[@]}" image prune --force --filter until=24h >/dev/null
