"""Nodes that note when they began; in a module of their own, which workers import."""

from __future__ import annotations

import time
from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, SimpleInterface, TraitedSpec, traits

__all__ = ["FitStamp", "Stamp"]


class _In(BaseInterfaceInputSpec):
    number = traits.Int(mandatory=True)


class _Out(TraitedSpec):
    begun_s = traits.Float()


class Stamp(SimpleInterface):
    """Note the time."""

    input_spec = _In
    output_spec = _Out

    def _run_interface(self, runtime: Any) -> Any:
        self._results["begun_s"] = time.time()
        return runtime


class FitStamp(Stamp):
    """Note the time once everything is imported that a fit is made of."""

    def _run_interface(self, runtime: Any) -> Any:
        import fmmtc_bidsapp.group.tasks.fit_tasks  # noqa: F401

        return super()._run_interface(runtime)
