"""Processes that are told of, and refused, every look at a network: their own, their workers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["NETWORK", "run_offline"]

NETWORK = "NETWORK"
"""What is said on standard error where a process looks for a network."""

_WATCH = f"""
import sys

def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.sendto") or (
        event == "socket.connect" and isinstance(arguments[1], tuple)
    ):
        print("{NETWORK}", event, arguments[1:], file=sys.stderr, flush=True)
        raise OSError("no command may do this")

sys.addaudithook(watch)
"""


def run_offline(
    words: Sequence[str | Path], folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with these words, as a user of an empty home folder does.

    Nothing that would switch telemetry off is in the environment, and no cache or proxy of this
    machine's user.
    """
    # Python imports a module of this name at its start, in workers as well.
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_WATCH)
    dropped = ("NO_ET", "CI", "NIPYPE_NO_ET", "TEMPLATEFLOW_AUTOUPDATE", "FMMTC_ATLAS_DIR")
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in dropped and "proxy" not in key.lower()
    }
    paths = [str(folder), kept.get("PYTHONPATH", "")]
    kept |= {
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder),
        "FMMTC_CACHE_DIR": str(folder / "cache"),
        "TEMPLATEFLOW_HOME": str(folder / "templateflow"),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
