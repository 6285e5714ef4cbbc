"""A TOML file of flags that need not be typed.

Keys are the names of flags, with hyphens or underscores. At the top they hold for both levels, in a
table ``[participant]`` or ``[group]`` for one. The command line wins, also over lists.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fmmtc_bidsapp.errors import UsageError

__all__ = ["LEVELS", "read_config_file"]

LEVELS = ("participant", "group")
_NOT_IN_A_FILE = ("config-file", "help", "version")
_COUNTED = ("verbose",)
_POSITIONALS = ("bids_dir", "output_dir", "level")


def read_config_file(
    path: Path, level: str, parser: argparse.ArgumentParser, removed: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Read the flags of a level in a file; return the values, and their keys, by parser name.

    The parser, which must raise `UsageError` and know no defaults, checks and converts the values.
    Flags in `removed`, with their message, are ignored. Paths are relative to the current folder.
    """
    content = _load(path)
    values: dict[str, Any] = {}
    keys: dict[str, str] = {}
    for table in ("", *LEVELS):
        for key, value in _table(content, table, path).items():
            if key in removed:
                print(f"{key} in {path} is ignored: {removed[key]}.", file=sys.stderr)
                continue
            found = _parse(key, value, parser, path)
            if table in ("", level):
                values |= found
                keys |= dict.fromkeys(found, key)
    return values, keys


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise UsageError(f"--config-file {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config-file {path} is not TOML: {error}.") from error


def _table(content: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    """Return the values of one table by key; of the top for the empty name."""
    if name:
        table = content.get(name, {})
        if not isinstance(table, dict):
            raise UsageError(f"{name} in {path} must be a table, [{name}].")
    else:
        table = {key: value for key, value in content.items() if key not in LEVELS}
    spelled = [key.replace("_", "-") for key in table]
    twice = {key for key in spelled if spelled.count(key) > 1}
    if twice:
        raise UsageError(f"{path} gives {', '.join(sorted(twice))} twice.")
    return dict(zip(spelled, table.values(), strict=True))


def _parse(key: str, value: Any, parser: argparse.ArgumentParser, path: Path) -> dict[str, Any]:
    """Parse one key as if it had been typed."""
    if key in _NOT_IN_A_FILE:
        raise UsageError(f"{key} in {path} is for the command line only; take it out.")
    try:
        found = parser.parse_args(["-", "-", LEVELS[0], *_words(key, value)])
    except UsageError as error:
        raise UsageError(f"{key} = {value!r} in {path}: {error}") from error
    values = {name: item for name, item in vars(found).items() if name not in _POSITIONALS}
    return {} if value is False else values


def _words(key: str, value: Any) -> list[str]:
    """Return a key and its value as words of a command line."""
    flag = f"--{key}"
    if isinstance(value, bool):
        # A flag that takes a value is refused without one.
        return [flag]
    if key in _COUNTED and isinstance(value, int):
        return [flag] * value
    if isinstance(value, list) and not any(isinstance(item, list | dict) for item in value):
        return [flag, *map(str, value)]
    if isinstance(value, str | int | float):
        return [f"{flag}={value}"]
    raise UsageError(
        "give text, a number, true, false or a list of these; tables are [participant] and [group]."
    )
