"""Flags made from the fields of the options classes.

A flag that was not given is absent from the namespace: the options classes alone know defaults.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields
from functools import cache
from itertools import pairwise
from types import NoneType
from typing import Any, NoReturn, get_args, get_type_hints

from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.extensions import outside

__all__ = ["Parser", "add_options", "given", "hyphenated", "label"]


class Parser(argparse.ArgumentParser):
    """The parser of argparse, with errors of one line instead of pages of usage."""

    def error(self, message: str) -> NoReturn:
        """Raise the error that argparse would print."""
        raise UsageError(f"{message}. All flags: {self.prog} --help")


def hyphenated(argv: Sequence[str]) -> list[str]:
    """Write every flag with hyphens, so that ``--work_dir`` and ``--work-dir`` are one flag."""
    words = []
    for word in argv:
        flag, equals, value = word.partition("=")
        spelled = flag.replace("_", "-") if flag.startswith("--") else flag
        words.append(spelled + equals + value)
    return words


def label(prefix: str) -> Any:
    """Return a converter that strips ``sub-`` and the like from a label."""

    def strip(text: str) -> str:
        return text.removeprefix(f"{prefix}-")

    strip.__name__ = f"{prefix} label"
    return strip


@cache
def _field_help(options: type) -> dict[str, str]:
    """Read the text under each field of an options class from its source."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(options)))
    body = tree.body[0].body  # type: ignore[attr-defined]
    texts = {}
    for line, below in pairwise(body):
        is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if isinstance(line, ast.AnnAssign) and is_text:
            texts[line.target.id] = " ".join(str(below.value.value).split())  # type: ignore[union-attr]
    return texts


def add_options(
    parser: argparse.ArgumentParser,
    title: str,
    options: type,
    *,
    unset: str = "",
    aliases: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Add a group of flags to a parser, one for each field of an options class.

    `unset` says what a default of None means; `aliases` are further flags by field.
    """
    group = parser.add_argument_group(title)
    types = get_type_hints(options)
    for each in fields(options):
        flags = [f"--{each.name.replace('_', '-')}", *(aliases or {}).get(each.name, ())]
        text = (_field_help(options)[each.name] + _outside(each)).replace("%", "%%")
        settings = _settings(each, _without_none(types[each.name]), text, unset)
        group.add_argument(*flags, default=argparse.SUPPRESS, **settings)


def _outside(each: Field[Any]) -> str:
    """Return which values of a field other packages add, for the help."""
    group = each.metadata.get("extensions")
    found = [] if group is None else [f"{own.name} ({own.distribution})" for own in outside(group)]
    return f" Of other packages: {', '.join(found)}." if found else ""


def _without_none(kind: Any) -> Any:
    """Return ``float`` of ``float | None``."""
    members = get_args(kind)
    return members[0] if NoneType in members else kind


def _settings(each: Field[Any], kind: Any, text: str, unset: str) -> dict[str, Any]:
    """Return the arguments of argparse for a field."""
    if kind is bool:
        return {"action": "store_true", "help": text}
    if kind == tuple[str, ...]:
        return {"nargs": "+", "action": "extend", "metavar": "VALUE", "help": text}
    default = unset if each.default in (None, MISSING) else each.default
    shown = f" (default: {default})" if default != "" else ""
    settings: dict[str, Any] = {"help": text + shown, "type": kind}
    if each.metadata.get("group"):
        # Other packages may add values, so the options check them.
        settings["metavar"] = f"{{{','.join(each.metadata['choices'])},…}}"
    elif each.metadata.get("choices"):
        settings["choices"] = each.metadata["choices"]
    else:
        settings["metavar"] = each.name.split("_")[-1].upper()
    return settings


def given(options: type, values: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an options class that the user set, for its constructor."""
    names: Sequence[str] = [each.name for each in fields(options)]
    found = {name: values[name] for name in names if name in values}
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in found.items()
    }
