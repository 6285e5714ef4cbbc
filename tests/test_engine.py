"""The engine: one failure isolated, crash files read, the documented exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nipype.interfaces.base import BaseInterfaceInputSpec, SimpleInterface, TraitedSpec, traits
from nipype.pipeline import engine as pe

from fmmtc_bidsapp.engine import (
    Outcome,
    error_code,
    exit_code,
    new_workflow,
    print_outcomes,
    run_workflow,
)
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.plan import Resources


class _In(BaseInterfaceInputSpec):
    x = traits.Int(mandatory=True)
    log = traits.Str(mandatory=True, hash_files=False)


class _Out(TraitedSpec):
    x = traits.Int()


class Halve(SimpleInterface):
    """Halve an even number; odd ones are bad input."""

    input_spec = _In
    output_spec = _Out

    def _run_interface(self, runtime: Any) -> Any:
        if self.inputs.x % 2:
            raise InputError(f"{self.inputs.x} is odd: found an odd number.\nGive an even one.")
        with Path(self.inputs.log).open("a") as log:
            log.write(f"{self.inputs.x}\n")
        self._results["x"] = self.inputs.x // 2
        return runtime


@pytest.fixture
def resources(tmp_path: Path) -> Resources:
    return Resources(work_dir=tmp_path / "work", n_procs=2)


def _chains(numbers: list[int], resources: Resources, log: Path) -> Any:
    workflow = new_workflow("chains", resources, log.parent / "crash")
    for number in numbers:
        first = pe.Node(Halve(x=number, log=str(log)), name=f"first_{number}")
        second = pe.Node(Halve(log=str(log)), name=f"second_{number}")
        workflow.connect(first, "x", second, "x")
    return workflow


def test_one_failure_stops_nothing_but_what_depends_on_it(
    resources: Resources, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    failures = run_workflow(_chains([8, 5, 12], resources, log), resources, title="chains")
    assert [(each.node, each.error) for each in failures] == [("chains.first_5", "InputError")]
    assert failures[0].message == "5 is odd: found an odd number. Give an even one."
    assert failures[0].crash_file.exists()
    assert sorted(map(int, log.read_text().split())) == [4, 6, 8, 12]


def test_a_second_run_repeats_only_what_failed(resources: Resources, tmp_path: Path) -> None:
    log = tmp_path / "log"
    run_workflow(_chains([8], resources, log), resources, title="chains")
    run_workflow(_chains([8, 12], resources, log), resources, title="chains")
    assert sorted(map(int, log.read_text().split())) == [4, 6, 8, 12]


@pytest.mark.parametrize(
    ("codes", "expected"),
    [([0, 0], 0), ([0, 65], 1), ([65, 65], 65), ([73, 73], 73), ([65, 73], 1), ([], 0)],
)
def test_the_exit_code_says_whether_anyone_finished(codes: list[int], expected: int) -> None:
    outcomes = [
        Outcome(str(i), "failed" if code else "done", code=code) for i, code in enumerate(codes)
    ]
    assert exit_code(outcomes) == expected


def test_an_exception_that_is_not_ours_is_a_fault_of_ours() -> None:
    assert error_code("InputError") == 65
    assert error_code("ZeroDivisionError") == 70


def test_the_closing_table_is_plain_lines_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    print_outcomes([Outcome("sub-01", "skipped", "no [bold] image")], title="End")
    assert capsys.readouterr().out == "End\n  sub-01: skipped: no [bold] image\n"
