"""The command in processes that are forked from one with all imports done: ``python forked.py``.

It reads lines of JSON. ``["run", log, words]`` begins a run in a process group of its own and
answers with its number, ``["wait", number]`` with its exit code, that of a signal negative.
"""

from __future__ import annotations

import json
import os
import signal
import sys

os.environ.setdefault("NIPYPE_NO_ET", "1")
os.environ.setdefault("TEMPLATEFLOW_AUTOUPDATE", "off")

from fmmtc_bidsapp.cli.main import main
from fmmtc_bidsapp.group.run import run_group  # noqa: F401 - imported once for all
from fmmtc_bidsapp.participant.run import run_participant  # noqa: F401


def begin(log: str, words: list[str]) -> int:
    """Fork; the child becomes the command, and returns only in its own time."""
    number = os.fork()
    if number:
        return number
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(target, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    code = main(words)
    # As the command does that is not forked.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


if __name__ == "__main__":
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        if what == "run":
            answer = begin(*arguments)
        else:
            answer = os.waitstatus_to_exitcode(os.waitpid(*arguments, 0)[1])
        print(answer, flush=True)
