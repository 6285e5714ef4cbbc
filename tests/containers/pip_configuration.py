"""Write this machine's pip configuration as one file; print the local folders that it names.

A build in a container has neither the variables nor the files of its machine. Only the standard
library is needed.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

_FOLDERS = ("find-links", "index-url", "extra-index-url")
_OF_THIS_MACHINE = frozenset(
    {
        *("build-constraint", "constraint", "requirement", "requirements-from-script", "editable"),
        *("target", "prefix", "root", "user", "src", "log", "cache-dir", "python", "report"),
        *("require-virtualenv", "group", "client-cert"),
    }
)
"""Settings of files and places, whatever they are called there."""
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
"""Where the container finds them, whatever the machine's pip was told."""


def settings(listing: str) -> dict[str, str]:
    """Read what ``pip config list`` prints; a variable wins over a file, as with pip."""
    found = {}
    for line in sorted(listing.splitlines(), key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in ("global", "install", ":env:"):
            found[key] = " ".join(shlex.split(value))
    return found


def carried(found: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Part the settings that mean something in a container from those that name this machine's.

    A setting that names a file, such as ``constraint``, or a place to install to, would end every
    pip of the build: neither is there.
    """
    kept = {key: value for key, value in found.items() if key in _FOLDERS or not _local(key, value)}
    return kept, {key: value for key, value in found.items() if key not in kept}


def _local(key: str, value: str) -> bool:
    """Tell whether a setting speaks of files or places of this machine."""
    named = any(word.startswith(("/", "~", "./", "../", "file:")) for word in value.split())
    return named or key in _OF_THIS_MACHINE


def folders(found: dict[str, str]) -> list[str]:
    """Name the folders of this machine among the places that packages are taken from."""
    words = [word for key in _FOLDERS for word in found.get(key, "").split()]
    paths = [Path(word.removeprefix("file://")) for word in words]
    # An index is beside its files.
    roots = [path.parent if path.name == "simple" else path for path in paths]
    return [str(path) for path in dict.fromkeys(roots) if path.is_absolute() and path.is_dir()]


def main(file: Path) -> None:
    """Write the file and print the folders, one a line."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    found = settings(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    found, left_out = carried(found)
    if left_out:
        told = ", ".join(f"{key} = {value}" for key, value in sorted(left_out.items()))
        print(
            f"Settings of pip that are of this machine alone are left out: {told}", file=sys.stderr
        )
    found |= {"cert": CERTIFICATES}
    lines = [f"{key} = {value}" for key, value in sorted(found.items())]
    file.write_text("\n".join(["[global]", *lines, ""]))
    print("\n".join(folders(found)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
