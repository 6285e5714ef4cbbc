"""Errors a user can act on, each with the exit code the command ends with.

The codes follow BSD's ``sysexits.h`` where it has one; `docs/interface.md` lists them.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AppError",
    "InputError",
    "MissingResourceError",
    "ModelFileError",
    "OutputError",
    "UsageError",
]


class AppError(Exception):
    """A failure with a message that says what was found, what is needed and what to do."""

    exit_code: ClassVar[int] = 70


class UsageError(AppError):
    """Wrong use that is knowable before any image or series is opened."""

    exit_code = 2


class InputError(AppError):
    """Input data that cannot be used as it is."""

    exit_code = 65


class ModelFileError(InputError):
    """A checkpoint or bundle that does not hold what its configuration promises."""


class MissingResourceError(AppError):
    """An atlas, template or weights file that must be fetched first."""

    exit_code = 69


class OutputError(AppError):
    """A place that cannot be written: read-only, full, or locked."""

    exit_code = 73
