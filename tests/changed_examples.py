"""People of a cohort with other values."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from fmmtc_bidsapp.records import Examples

_FIELDS = {each.name for each in fields(Examples)}


def changed(people: Examples, **values: Any) -> Examples:
    """Replace fields, and arrays by their source."""
    own = {name: each for name, each in values.items() if name in _FIELDS}
    arrays = {name: each for name, each in values.items() if name not in _FIELDS}
    return replace(people.with_arrays(**arrays), **own)
