"""Ctrl-C before a command has begun."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest
from hpc_page import ROOT

INTERRUPTED = """
import os, signal, sys
from importlib.abc import MetaPathFinder

class Interrupt(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupt())
from {place} import {function}
sys.argv = [{program!r}, "--version"]
sys.exit({function}())
"""


@pytest.mark.parametrize("program", ["fmmtc", "fmmtc-tools"])
@pytest.mark.parametrize("module", ["fmmtc_bidsapp.cli", "fmmtc_bidsapp.errors", "argparse"])
def test_an_interrupt_during_the_first_imports_ends_a_command_with_130_and_one_line(
    program: str, module: str
) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    place, _, function = scripts[program].partition(":")
    script = INTERRUPTED.format(module=module, place=place, function=function, program=program)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 130
    assert done.stderr == f"{program}: interrupted; run the same command to go on.\n"
    assert done.stdout == ""
