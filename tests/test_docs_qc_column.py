"""The example of docs/extend/qc-column.md, carried out."""

from __future__ import annotations

import re
from dataclasses import fields, make_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmmtc_bidsapp.records import quality as record
from fmmtc_bidsapp.signals import quality

PAGE = Path(__file__).resolve().parents[1] / "docs/extend/qc-column.md"


@pytest.fixture
def steps() -> list[str]:
    """The code of the page: field, value, rule."""
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_field_of_the_page_has_what_table_sidecar_and_report_say_of_a_column(
    steps: list[str],
) -> None:
    name, _, rest = steps[0].partition(":")
    of_type, _, column = rest.partition("=")
    added = make_dataclass("Added", [(name, of_type.strip(), eval(column, vars(record)))])
    found = fields(added)[0]
    known = next(each for each in fields(record.RunQuality) if each.name == "mean_fd")
    assert found.type == known.type
    assert set(found.metadata) == set(known.metadata)
    assert found.metadata["unit"] == "mm"


def test_the_value_of_the_page_leaves_dummies_and_unknown_motion_out(steps: list[str]) -> None:
    fd_mm = np.array([np.nan, 9.0, 0.1, 0.2, 0.3, np.nan, 0.4])
    shown = np.array([True, False, True, True, True, True, True])
    here: dict[str, Any] = {"fd_mm": fd_mm, "shown": shown}
    value = eval(f"{{{steps[1]}}}", {**vars(quality), **here})["fd_p95"]
    assert value == np.percentile([0.1, 0.2, 0.3, 0.4], 95)
    nothing = eval(f"{{{steps[1]}}}", {**vars(quality), **here, "fd_mm": fd_mm * np.nan})
    assert nothing == {"fd_p95": None}


@pytest.mark.parametrize(("fd_p95", "applies"), [(None, False), (1.9, False), (2.1, True)])
def test_the_rule_of_the_page_applies_from_its_limit_on_and_says_so(
    steps: list[str], fd_p95: float | None, applies: bool
) -> None:
    run = make_dataclass("Run", ["fd_p95"])(fd_p95)
    rule = eval(steps[2], vars(quality))
    assert rule.applies(run, None) is applies
    if applies:
        assert "is 2.10 mm, more than 2" in rule.reason.format_map(vars(run))
