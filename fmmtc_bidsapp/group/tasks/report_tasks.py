"""The steps that write reports from the written files, each a function that a `Task` calls."""

from __future__ import annotations

from pathlib import Path

from fmmtc_bidsapp.bidsio.files.atomic import write_text
from fmmtc_bidsapp.group.tasks.quality import write_quality
from fmmtc_bidsapp.reports.pages.group import group_answer, write_group_report

__all__ = ["report", "summarise_quality"]


def summarise_quality(output_dir: Path, folder: Path) -> Path:
    """Write the quality of all runs, and QC-FC; return the file of a line about them."""
    summary = folder / "summary.txt"
    write_text(summary, write_quality(output_dir))
    return summary


def report(output_dir: Path, *, label: str, folder: Path) -> Path:
    """Write the HTML report of the group; return the file of its answer, one sentence."""
    write_group_report(output_dir, label)
    answer = folder / "answer.txt"
    write_text(answer, group_answer(output_dir, label))
    return answer
