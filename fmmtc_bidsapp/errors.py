"""Errors that a user can act on, each with its exit code.

The codes follow BSD's ``sysexits.h`` where it has one; `docs/interface.md` lists them.
"""

from __future__ import annotations

import errno
from typing import ClassVar

__all__ = [
    "AppError",
    "InputError",
    "MissingResourceError",
    "ModelFileError",
    "OutputError",
    "SystemLimitError",
    "UsageError",
    "require",
    "system_limit",
]


class AppError(Exception):
    """A failure with a message that says what was found, what is needed and what to do."""

    exit_code: ClassVar[int] = 70


class UsageError(AppError):
    """Wrong use that is known before any image or series is opened."""

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


class SystemLimitError(AppError):
    """Memory, a process or a thread that the system refuses."""

    exit_code = 71


def require(condition: bool, message: str) -> None:
    """Refuse input with an `InputError` unless the condition holds."""
    if not condition:
        raise InputError(message)


def system_limit(error: BaseException) -> SystemLimitError | None:
    """Return the error for memory, a process or a thread that was refused; None for others."""
    is_thread = isinstance(error, RuntimeError) and "start new thread" in str(error)
    is_process = isinstance(error, OSError) and error.errno in (errno.EAGAIN, errno.ENOMEM)
    if not (is_thread or is_process or isinstance(error, MemoryError)):
        return None
    what = "a thread" if is_thread else "a process" if is_process else "memory"
    return SystemLimitError(
        f"The system refused {what} ({error or 'no more is allowed'}). Use fewer --nprocs, or "
        "raise the limit (ulimit -v, ulimit -u, or what the job asks for of memory), then "
        "run again; completed steps are reused."
    )
