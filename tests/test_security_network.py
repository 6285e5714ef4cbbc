"""No telemetry: no command looks for a network of itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

WATCH = """
import sys

def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.sendto") or (
        event == "socket.connect" and isinstance(arguments[1], tuple)
    ):
        print("NETWORK", event, arguments[1:], file=sys.stderr, flush=True)
        raise OSError("no command may do this")

sys.addaudithook(watch)
"""
COMMANDS = {
    "help": ("main", ["--help"], 0),
    "version": ("main", ["--version"], 0),
    "a refused group level": ("main", ["in", "out", "group"], 2),
    "a group level without people": (
        "main",
        ["in", "out", "group", "--target", "y", "--encoder", "random", "--dry-run"],
        65,
    ),
    "a participant level without data": ("main", ["in", "out", "participant"], 2),
    "tools check": ("tools", ["check"], 69),
    "tools boutiques": ("tools", ["boutiques"], 0),
}


def _run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    # As a user starts it: without what would switch telemetry off.
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_ET", "CI")}
    kept.pop("NIPYPE_NO_ET", None)
    kept |= {"HOME": str(folder), "FMMTC_CACHE_DIR": str(folder / "cache")}
    # A path of its own for each, so that a proxy or a cache of the user's is out of play.
    kept |= {"TEMPLATEFLOW_HOME": str(folder / "templateflow"), "XDG_CACHE_HOME": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", WATCH + code],
        cwd=folder,
        env=kept,
        capture_output=True,
        text=True,
        timeout=250,
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_connects_to_nothing(name: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    module, words, code = COMMANDS[name]
    done = _run(
        f"from fmmtc_bidsapp.cli.{module} import main\nraise SystemExit(main({words!r}))", tmp_path
    )
    assert "NETWORK" not in done.stderr
    assert done.returncode == code, done.stderr


def test_no_library_that_a_level_imports_connects_to_anything(tmp_path: Path) -> None:
    done = _run(
        "from fmmtc_bidsapp.cli.main import run_guarded\n"
        "def imports():\n"
        "    import fmmtc_bidsapp.participant.run, fmmtc_bidsapp.group.run\n"
        "    import fmmtc_bidsapp.participant.nodes, fmmtc_bidsapp.group.nodes\n"
        "    from nipype.interfaces.utility import IdentityInterface\n"
        "    IdentityInterface(fields=['x'])\n"
        "    return 0\n"
        "raise SystemExit(run_guarded('fmmtc', imports))",
        tmp_path,
    )
    assert "NETWORK" not in done.stderr
    assert done.returncode == 0, done.stderr


def test_the_watch_sees_what_it_is_for(tmp_path: Path) -> None:
    done = _run("import socket\nsocket.create_connection(('127.0.0.1', 9))", tmp_path)
    assert "NETWORK" in done.stderr
