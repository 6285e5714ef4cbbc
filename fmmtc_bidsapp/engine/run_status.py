"""The exit code and the closing table of a run."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fmmtc_bidsapp import errors
from fmmtc_bidsapp.visible import visible

__all__ = ["Outcome", "error_code", "exit_code", "outcome_columns", "print_outcomes"]

_DONE, _SKIPPED, _FAILED = "done", "skipped", "failed"


@dataclass(frozen=True)
class Outcome:
    """The end of one participant, or of one part of the group level."""

    name: str
    status: str
    """``done``, ``skipped`` (never started) or ``failed``."""
    detail: str = ""
    code: int = 0
    """Exit code of the error; 0 without one."""


def error_code(error: str) -> int:
    """Return the exit code of an exception class by its name; 70 for an unexpected one."""
    kind = getattr(errors, error, None)
    if kind is not None:
        return int(kind.exit_code)
    # Errors of reading are InputErrors: an OSError that is left is one of writing.
    is_place = issubclass(getattr(builtins, error, Exception), OSError)
    return errors.OutputError.exit_code if is_place else errors.AppError.exit_code


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Return 0 if all are done, 1 if some are, else the largest code; 73 wins over 1."""
    codes = [each.code for each in outcomes if each.code]
    if not codes:
        return 0
    if errors.OutputError.exit_code in codes:
        return errors.OutputError.exit_code
    return 1 if any(each.status == _DONE for each in outcomes) else max(codes)


def outcome_columns(outcomes: Sequence[Outcome]) -> dict[str, list[str]]:
    """Return the closing table as the columns of a file."""
    return {
        "who": [each.name for each in outcomes],
        "how_it_ended": [each.status for each in outcomes],
        "why": [each.detail or "n/a" for each in outcomes],
    }


def print_outcomes(outcomes: Sequence[Outcome], *, title: str) -> None:
    """Print the table that ends every run; plain lines without a terminal."""
    # Colours are control characters, which guarded streams escape.
    console = Console(file=getattr(sys.stdout, "beneath", sys.stdout))
    if not console.is_terminal:
        print(title)
        for each in outcomes:
            print(f"  {each.name}: {each.status}{': ' * bool(each.detail)}{each.detail}")
        return
    table = Table(title=escape(visible(title)), title_justify="left")
    table.add_column("participant", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for each in outcomes:
        colour = {_DONE: "green", _SKIPPED: "yellow", _FAILED: "red"}[each.status]
        name, detail = (escape(visible(text)) for text in (each.name, each.detail))
        table.add_row(name, f"[{colour}]{each.status}[/]", detail)
    console.print(table)
