"""One declaration for a table and its sidecar."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from fmmtc_bidsapp.bidsio.files.tsv import Column, write_table

COLUMNS = {
    "fold": Column("Outer fold."),
    "mean_fd": Column("Head motion.", "mm"),
    "other": Column("Not in this table."),
}


def test_the_sidecar_says_of_the_columns_of_a_table_what_was_declared(tmp_path: Path) -> None:
    table = pd.DataFrame({"mean_fd": [0.1, None], "fold": [1, None]}, dtype=object)
    write_table(tmp_path / "x.tsv", table, COLUMNS, {"Note": "two people"})
    # A whole number stays one beside a missing value.
    assert (tmp_path / "x.tsv").read_text() == "mean_fd\tfold\n0.1\t1\nn/a\tn/a\n"
    assert json.loads((tmp_path / "x.json").read_text()) == {
        "Note": "two people",
        "mean_fd": {"Description": "Head motion.", "Units": "mm"},
        "fold": {"Description": "Outer fold."},
    }


def test_a_column_that_was_not_declared_is_an_error_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="secret"):
        write_table(tmp_path / "x.tsv", pd.DataFrame({"secret": [1]}), COLUMNS, {})
    assert list(tmp_path.iterdir()) == []
