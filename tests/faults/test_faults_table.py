"""The page on reliability promises nothing that no test shows, and leaves no test out."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    line.split("|")[1:-1]
    for line in (ROOT / "docs" / "reliability.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| fault ")
]


def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {
        each.name
        for each in tree.body
        if isinstance(each, ast.FunctionDef) and each.name.startswith("test_")
    }


def named() -> set[tuple[str, str]]:
    cells = " ".join(row[2] for row in ROWS)
    return {(file, name) for file, name in re.findall(r"`(tests/\S+\.py)::(\w+)`", cells)}


def test_every_promise_names_a_test_that_is_there() -> None:
    assert len(ROWS) >= 15
    assert all(
        fault.strip() and promise.strip() and "::" in shown for fault, promise, shown in ROWS
    )
    lacking = [(file, name) for file, name in named() if name not in names_in(ROOT / file)]
    assert lacking == []


def test_every_test_of_a_fault_is_in_the_table() -> None:
    here = Path(__file__)
    others = sorted(path for path in here.parent.glob("test_*.py") if path != here)
    there = {(str(path.relative_to(ROOT)), name) for path in others for name in names_in(path)}
    assert there - named() == set()
