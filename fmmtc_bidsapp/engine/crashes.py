"""Read nipype's crash files: which node failed, and with which error."""

from __future__ import annotations

import builtins
import gzip
import pickletools
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from fmmtc_bidsapp import errors

__all__ = ["NodeFailure", "raise_failure", "read_crash", "read_traceback", "short_name"]

_ERROR_LINE = re.compile(r"^\s*(?:\w+\.)*(\w+(?:Error|Exception|Interrupt|Warning)): ?(.*)$")


@dataclass(frozen=True)
class NodeFailure:
    """The content of a crash file."""

    node: str
    """Name of the node without that of the workflow, ``sub_01.parcellate``."""
    error: str
    """Class of the exception, ``InputError``."""
    message: str
    crash_file: Path


def short_name(fullname: str) -> str:
    """Take the name of the workflow off the name of a node."""
    return fullname.partition(".")[2]


def read_crash(path: Path) -> NodeFailure:
    """Read the node, and the last exception with its message, from a crash file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    named = (short_name(line[6:].strip()) for line in lines if line.startswith("Node: "))
    node = next(named, path.stem)
    found = [(i, match) for i, line in enumerate(lines) if (match := _ERROR_LINE.match(line))]
    if not found:
        return NodeFailure(node, "Error", "no message; see the crash file", path)
    start, match = found[-1]
    rest = [line.strip() for line in lines[start + 1 :]]
    tail = rest[: rest.index("")] if "" in rest else rest
    message = " ".join([match[2], *tail]).strip()
    return NodeFailure(node, match[1], f"{message}{_where(match[1], message, lines)}", path)


def read_traceback(path: Path) -> list[str]:
    """Return the lines of the traceback in a pickled crash file; none without such a file.

    Nothing is unpickled, since importing the packages that the pickle names may be what failed.
    """
    try:
        codes = list(pickletools.genops(gzip.decompress(path.read_bytes())))
    except (OSError, EOFError, ValueError, zlib.error):
        return []
    texts = [text for _, text, _ in codes if isinstance(text, str)]
    return texts[texts.index("traceback") + 1 :] if "traceback" in texts else []


def _where(error: str, message: str, lines: Sequence[str]) -> str:
    """Return the folder of the node if the system names no file, as for a full disk."""
    kind = getattr(builtins, error, None)
    is_place = isinstance(kind, type) and issubclass(kind, OSError)
    folders = [line[18:].strip() for line in lines if line.startswith("Working directory: ")]
    return f" (computing in {folders[0]})" if is_place and "/" not in message and folders else ""


def raise_failure(failure: NodeFailure, text: str) -> NoReturn:
    """Raise the error of a node as one of the same class, so with the same exit code."""
    kind = getattr(errors, failure.error, errors.AppError)
    raise kind(f"{text}: {failure.message}")
