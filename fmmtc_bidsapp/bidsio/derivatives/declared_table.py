"""A table with declared columns: one declaration writes the table and its sidecar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fmmtc_bidsapp.bidsio.files.atomic import write_json
from fmmtc_bidsapp.bidsio.files.tsv import write_tsv

__all__ = ["Column", "write_table"]


@dataclass(frozen=True)
class Column:
    """The declaration of a column, for the sidecar of its table."""

    description: str
    unit: str = ""


def write_table(
    path: Path, table: pd.DataFrame, columns: Mapping[str, Column], about: Mapping[str, Any]
) -> None:
    """Write a table, and a sidecar of `about` and its columns, each of which must be declared."""
    sidecar = dict(about)
    for name in map(str, table):
        column = columns[name]
        units = {"Units": column.unit} if column.unit else {}
        sidecar[name] = {"Description": column.description, **units}
    write_tsv(path, {str(name): values.tolist() for name, values in table.items()})
    write_json(path.with_suffix(".json"), sidecar)
