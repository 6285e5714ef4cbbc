# shellcheck shell=bash
# Where the container tests keep what they build, and how to say that they cannot run; sourced.

# Every user must reach it: Apptainer runs as an ordinary one.
place=${FMMTC_CONTAINER_PLACE:-/var/tmp/fmmtc-container-test}

unavailable() {
    echo "container-test: $1; nothing was tested." >&2
    exit 69
}

make_place() {
    [ "$(id -u)" = 0 ] || unavailable "building without a daemon asks for root"
    mkdir -p "$place"
    [ -O "$place" ] || unavailable "$place belongs to another user"
}

# Installs the Debian packages of commands that are not here: have COMMAND=PACKAGE ...
have() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair##*=}")
    done
    [ ${#missing[@]} -eq 0 ] && return
    { apt-get update --quiet=2 &&
        apt-get install --quiet=2 --yes --no-install-recommends "${missing[@]}" >/dev/null; } ||
        unavailable "cannot install ${missing[*]}"
}

# The machine's pip configuration as a file, which names folders that must be bound beside it.
pip_configuration() {
    "${PYTHON:-python3}" "$(dirname "${BASH_SOURCE[0]}")/pip_configuration.py" "$1"
}
