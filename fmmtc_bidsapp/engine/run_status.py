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
    """How one participant, or one part of the group level, ended."""

    name: str
    status: str
    """``done``, ``skipped`` (never started) or ``failed`` (started and broke)."""
    detail: str = ""
    code: int = 0
    """Exit code of the error behind it; 0 where it is no failure."""


def error_code(error: str) -> int:
    """Exit code of an exception class by its name; 70 for one that is not ours to expect."""
    kind = getattr(errors, error, None)
    if kind is not None:
        return int(kind.exit_code)
    # What a node reads is checked with errors of ours: what is left is a place to write.
    is_place = issubclass(getattr(builtins, error, Exception), OSError)
    return errors.OutputError.exit_code if is_place else errors.AppError.exit_code


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 if all are done, 1 if some are, else the gravest code of what stopped them.

    A place that cannot be written is everyone's: it counts as such whoever else is done.
    """
    codes = [each.code for each in outcomes if each.code]
    if not codes:
        return 0
    if errors.OutputError.exit_code in codes:
        return errors.OutputError.exit_code
    return 1 if any(each.status == _DONE for each in outcomes) else max(codes)


def outcome_columns(outcomes: Sequence[Outcome]) -> dict[str, list[str]]:
    """Lay the closing table out for a file."""
    return {
        "who": [each.name for each in outcomes],
        "how_it_ended": [each.status for each in outcomes],
        "why": [each.detail or "n/a" for each in outcomes],
    }


def print_outcomes(outcomes: Sequence[Outcome], *, title: str) -> None:
    """Print the table that ends every run; plain lines where there is no terminal."""
    # Colours are what guarded streams spell out.
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
