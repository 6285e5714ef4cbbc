"""The documented exit codes, and the table that ends every run."""

from __future__ import annotations

import pytest

from fmmtc_bidsapp.engine import Outcome, error_code, exit_code, print_outcomes


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([0, 0], 0),
        ([0, 65], 1),
        ([0, 73], 73),
        ([65, 65], 65),
        ([73, 73], 73),
        ([65, 73], 73),
        ([], 0),
    ],
)
def test_the_exit_code_says_whether_anyone_finished(codes: list[int], expected: int) -> None:
    outcomes = [
        Outcome(str(i), "failed" if code else "done", code=code) for i, code in enumerate(codes)
    ]
    assert exit_code(outcomes) == expected


def test_an_exception_that_is_not_ours_is_a_fault_of_ours() -> None:
    assert error_code("InputError") == 65
    assert error_code("ZeroDivisionError") == 70
    assert error_code("PermissionError") == 73


def test_the_closing_table_is_plain_lines_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    print_outcomes([Outcome("sub-01", "skipped", "no [bold] image")], title="End")
    assert capsys.readouterr().out == "End\n  sub-01: skipped: no [bold] image\n"
