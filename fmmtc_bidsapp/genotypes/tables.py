"""Tables beside the calls: who was genotyped, and which variants there are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fmmtc_bidsapp.errors import InputError

__all__ = [
    "PEOPLE",
    "VARIANTS",
    "positions",
    "read_columns",
    "require_beside",
    "require_unique",
    "sexes",
]

PEOPLE = ("family_id", "individual_id", "father_id", "mother_id", "sex")
VARIANTS = ("CHR", "SNP", "POS", "A1", "A2")

_SEX = {"1": "male", "2": "female", "M": "male", "F": "female"}
_MOST_NAMED = 5


def require_beside(path: Path) -> None:
    """Refuse calls without one of the tables that belong to them."""
    if not path.is_file():
        raise InputError(f"{path} is missing; the calls need it beside them.")


def read_columns(path: Path, names: Sequence[str], *, skip: int = 0) -> pd.DataFrame:
    """Read the columns of a table after its header, separated by blanks; positions are numbers."""
    require_beside(path)
    try:
        table = pd.read_csv(
            path,
            sep=r"\s+",
            header=None,
            skiprows=skip,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8",
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from None
    if table.shape[1] != len(names):
        raise InputError(
            f"{path} has {table.shape[1]} columns, expected {len(names)}: {', '.join(names)}."
        )
    table.columns = list(names)
    for column in table.columns.intersection(["CM", "POS"]):
        table[column] = positions(path, table[column])
    return table


def positions(path: Path, text: pd.Series) -> pd.Series:
    """Read a column of numbers, whole ones where all are."""
    try:
        return pd.to_numeric(text)
    except ValueError as error:
        raise InputError(f"{path}, column {text.name}: {error}; expected numbers.") from None


def sexes(codes: pd.Series) -> pd.Series:
    """PLINK's 1 and 2 (or M and F) -> male and female; everything else is unknown."""
    return codes.map(_SEX).fillna("unknown")


def require_unique(path: Path, what: str, values: pd.Series) -> None:
    """Refuse ids that occur twice."""
    twice = values[values.duplicated()].unique()
    if len(twice):
        shown = ", ".join(map(str, twice[:_MOST_NAMED]))
        raise InputError(
            f"{path} has {len(twice)} {what} that occur more than once ({shown}"
            f"{', ...' if len(twice) > _MOST_NAMED else ''}); expected each once."
        )
