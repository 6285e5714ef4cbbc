"""Nodes that write reports from the written files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from fmmtc_bidsapp.bidsio.derivatives.write import write_text
from fmmtc_bidsapp.group.tasks.quality import write_quality
from fmmtc_bidsapp.reports.pages.group import group_answer, write_group_report
from fmmtc_bidsapp.reports.pages.sheet import write_sheets
from fmmtc_bidsapp.reports.text.methods import write_citation

__all__ = ["Citation", "Quality", "Report", "Sheets"]


class _QualityInput(BaseInterfaceInputSpec):
    output_dir = traits.Str(mandatory=True, hash_files=False)


class _QualityOutput(TraitedSpec):
    summary = File(exists=True, desc="one line of text")


class Quality(SimpleInterface):
    """The quality of all runs, and QC-FC, from the written files."""

    input_spec = _QualityInput
    output_spec = _QualityOutput

    def _run_interface(self, runtime: Any) -> Any:
        summary = Path(runtime.cwd) / "summary.txt"
        write_text(summary, write_quality(Path(self.inputs.output_dir)))
        self._results["summary"] = str(summary)
        return runtime


class _ReportInput(BaseInterfaceInputSpec):
    output_dir = traits.Str(mandatory=True, hash_files=False)
    label = traits.Str(mandatory=True)


class _ReportOutput(TraitedSpec):
    answer = File(exists=True, desc="the answer in one sentence")


class Report(SimpleInterface):
    """The group's HTML report, from the written files."""

    input_spec = _ReportInput
    output_spec = _ReportOutput

    def _run_interface(self, runtime: Any) -> Any:
        output_dir, label = Path(self.inputs.output_dir), self.inputs.label
        write_group_report(output_dir, label)
        answer = Path(runtime.cwd) / "answer.txt"
        write_text(answer, group_answer(output_dir, label))
        self._results["answer"] = str(answer)
        return runtime


class Sheets(SimpleInterface):
    """A page for each person that a bundle was applied to, from the written files."""

    input_spec = _ReportInput

    def _run_interface(self, runtime: Any) -> Any:
        write_sheets(Path(self.inputs.output_dir), self.inputs.label)
        return runtime


class Citation(SimpleInterface):
    """What to cite, and the methods text of the whole dataset, from the written files."""

    input_spec = _ReportInput

    def _run_interface(self, runtime: Any) -> Any:
        write_citation(Path(self.inputs.output_dir))
        return runtime
