"""A node for tests of the engine: it halves even numbers, and does not survive some others."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, SimpleInterface, TraitedSpec, traits

from fmmtc_bidsapp.errors import InputError

KILLED = 666
"""The number at which the process is killed."""
HUNGRY = 888
"""The number at which the process takes a gigabyte, and keeps it."""

Chains = Callable[..., Any]
"""Builder of a workflow with two nodes for every number (the fixture ``chains``)."""


class _In(BaseInterfaceInputSpec):
    x = traits.Int(mandatory=True)
    log = traits.Str(mandatory=True, hash_files=False)
    seconds = traits.Float(0.0, usedefault=True)


class _Out(TraitedSpec):
    x = traits.Int()


class _GpuIn(_In):
    use_gpu = traits.Bool(True, usedefault=True)


class Halve(SimpleInterface):
    """Halve an even number; odd ones are bad input."""

    input_spec = _In
    output_spec = _Out

    def _run_interface(self, runtime: Any) -> Any:
        if self.inputs.x == KILLED:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.inputs.x == HUNGRY:
            taken = bytearray(os.urandom(1_000_000) * 1000)
            time.sleep(60)
            del taken
        if self.inputs.x % 2:
            raise InputError(f"{self.inputs.x} is odd: found an odd number.\nGive an even one.")
        started = time.monotonic()
        time.sleep(self.inputs.seconds)
        with Path(self.inputs.log).open("a") as log:
            log.write(f"{self.inputs.x} {started} {time.monotonic()}\n")
        self._results["x"] = self.inputs.x // 2
        return runtime


class HalveOnGpu(Halve):
    """The same, where there is a GPU."""

    input_spec = _GpuIn


def halved(number: int, folder: Path) -> Path:
    """Halve a number as a task does."""
    path = folder / "half.txt"
    path.write_text(str(number // 2))
    return path
