#!/usr/bin/env bash
# Builds Singularity.def with Apptainer, on the base that build.sh made; ends with 69 where
# Apptainer cannot be had.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/containers/place.sh
source tests/containers/place.sh

make_place
have podman=podman
image=$place/sif/fmmtc.sif
mkdir -p "$place/sif"
chown 1234 "$place/sif"

mapfile -t sources < <(sed -n '/^%files/,/^%post/s/^    \(\S*\) .*/\1/p' Singularity.def)
if [ -e "$image" ] && [ -z "$(find Singularity.def "${sources[@]}" -type f -not -name '*.pyc' \
    -newer "$image" -print -quit)" ]; then
    echo "$image is as new as what it is made of."
    exit
fi
# An old one must not be tested in place of one that could not be built.
rm -f "$image"

# Its user can read neither the storage of podman nor, perhaps, this folder.
context=$(mktemp -d "$place/context-XXXXXX")
trap 'rm -rf "$context"' EXIT
tar -c --exclude=__pycache__ "${sources[@]}" |
    tar -C "$context" -x --no-same-owner --mode=a+rX
cp Singularity.def "$context/"
podman --root "$place/storage" --runroot "$place/run" --storage-driver overlay \
    save --quiet --output "$context/base.tar" localhost/fmmtc-base:bookworm >/dev/null
folders=$(pip_configuration "$context/pip.conf")
chmod -R a+rX "$context"

binds="/host$context/pip.conf:/etc/pip.conf"
binds+=",/etc/ssl/certs/ca-certificates.crt:/etc/ssl/certs/ca-certificates.crt"
for folder in $folders; do
    binds+=",/host$folder:$folder"
done

# shellcheck disable=SC2016  # expanded inside
tests/containers/apptainer.sh sh -euc 'cd "/host$1" && exec apptainer build --force --fakeroot \
    --bind "$2" --build-arg BOOTSTRAP=docker-archive --build-arg BASE_IMAGE=base.tar \
    "/host$3" Singularity.def' sh "$context" "$binds" "$image"
