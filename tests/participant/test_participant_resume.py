"""The ledger: finished work is known in no time, and nothing else is taken for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from participant.tiny_study import write_study

from fmmtc_bidsapp.errors import OutputError
from fmmtc_bidsapp.options import DenoiseOptions, ParcelOptions
from fmmtc_bidsapp.participant import resume
from fmmtc_bidsapp.participant.admission import begin
from fmmtc_bidsapp.participant.labels import require_labels, write_labels
from fmmtc_bidsapp.participant.resume import Ledger, stamps
from fmmtc_bidsapp.plan import ParticipantPlan, Resources

NAME = "sub_01_task_rest"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "work" / "finished", "0123456789abcdef")


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    return _files(tmp_path / "in", "bold.nii.gz", "mask.nii.gz", "confounds.tsv")


@pytest.fixture
def outputs(tmp_path: Path) -> list[Path]:
    return _files(tmp_path / "out", "timeseries.tsv", "relmat.tsv")


def _files(folder: Path, *names: str) -> list[Path]:
    folder.mkdir()
    for name in names:
        (folder / name).write_text(name)
    return [folder / name for name in names]


def _later(path: Path) -> None:
    """Date a file one nanosecond later."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def test_what_is_marked_is_finished(
    ledger: Ledger, inputs: list[Path], outputs: list[Path]
) -> None:
    assert not ledger.is_finished(NAME, stamps(inputs))
    ledger.mark_finished(NAME, stamps(inputs), outputs)
    assert ledger.is_finished(NAME, stamps(inputs))
    assert not ledger.is_finished("sub_02_task_rest", stamps(inputs))


@pytest.mark.parametrize(
    "change",
    [
        lambda inputs, _: _later(inputs[0]),
        lambda inputs, _: inputs[1].write_text("a longer mask"),
        lambda inputs, _: inputs[2].unlink(),
        lambda inputs, _: inputs.append(inputs[0].with_name("aroma.tsv")),
        lambda inputs, _: inputs.pop(),
        lambda _, outputs: _later(outputs[0]),
        lambda _, outputs: outputs[1].unlink(),
        lambda _, outputs: outputs[1].write_text(""),
    ],
    ids=[
        "in-dated",
        "in-longer",
        "in-gone",
        "in-more",
        "in-fewer",
        "out-touched",
        "out-gone",
        "out-emptied",
    ],
)
def test_a_file_that_changed_is_work_to_do(
    ledger: Ledger,
    inputs: list[Path],
    outputs: list[Path],
    change: Callable[[list[Path], list[Path]], None],
) -> None:
    ledger.mark_finished(NAME, stamps(inputs), outputs)
    change(inputs, outputs)
    assert not ledger.is_finished(NAME, stamps(inputs))


def test_an_input_that_changes_during_the_work_does_not_count_as_read(
    ledger: Ledger, inputs: list[Path], outputs: list[Path]
) -> None:
    before = stamps(inputs)
    _later(inputs[0])
    ledger.mark_finished(NAME, before, outputs)
    assert not ledger.is_finished(NAME, stamps(inputs))


def test_another_configuration_is_work_to_do_and_leaves_the_first_one_finished(
    ledger: Ledger, inputs: list[Path], outputs: list[Path]
) -> None:
    ledger.mark_finished(NAME, stamps(inputs), outputs)
    other = replace(ledger, config_hash="fedcba9876543210")
    assert not other.is_finished(NAME, stamps(inputs))
    other.mark_finished(NAME, stamps(inputs), outputs)
    assert ledger.is_finished(NAME, stamps(inputs))


def test_another_version_is_work_to_do(
    ledger: Ledger, inputs: list[Path], outputs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.mark_finished(NAME, stamps(inputs), outputs)
    monkeypatch.setattr(resume, "__version__", "99.0")
    assert not ledger.is_finished(NAME, stamps(inputs))


def test_work_that_left_a_file_missing_is_not_finished(
    ledger: Ledger, inputs: list[Path], outputs: list[Path]
) -> None:
    ledger.mark_finished(NAME, stamps(inputs), [*outputs, outputs[0].with_name("never.tsv")])
    assert not ledger.is_finished(NAME, stamps(inputs))


def test_work_that_left_no_file_is_not_finished(ledger: Ledger, inputs: list[Path]) -> None:
    ledger.mark_finished(NAME, stamps(inputs), [])
    assert not ledger.is_finished(NAME, stamps(inputs))


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    damage=st.one_of(
        st.binary(max_size=40),
        st.sampled_from([b"[]", b"{}", b"null", b'{"outputs": []}', b'{"outputs": {"a": 1}}']),
    )
)
def test_a_damaged_entry_is_work_to_do(
    ledger: Ledger, inputs: list[Path], outputs: list[Path], damage: bytes
) -> None:
    ledger.mark_finished(NAME, stamps(inputs), outputs)
    (entry,) = ledger.folder.glob("*.json")
    entry.write_bytes(damage)
    assert not ledger.is_finished(NAME, stamps(inputs))


def test_an_entry_cut_anywhere_is_work_to_do(
    ledger: Ledger, inputs: list[Path], outputs: list[Path]
) -> None:
    ledger.mark_finished(NAME, stamps(inputs), outputs)
    (entry,) = ledger.folder.glob("*.json")
    whole = entry.read_bytes()
    for length in range(0, len(whole.rstrip()), 7):
        entry.write_bytes(whole[:length])
        assert not ledger.is_finished(NAME, stamps(inputs))


def test_a_link_is_followed_to_what_it_points_at(
    ledger: Ledger, inputs: list[Path], outputs: list[Path], tmp_path: Path
) -> None:
    link = tmp_path / "link.nii.gz"
    link.symlink_to(inputs[0])
    ledger.mark_finished(NAME, stamps([link]), outputs)
    assert ledger.is_finished(NAME, stamps([link]))
    _later(inputs[0])
    assert not ledger.is_finished(NAME, stamps([link]))


def test_a_ledger_that_cannot_be_written_is_an_error(
    inputs: list[Path], outputs: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        Ledger(tmp_path / "file" / "finished", "0").mark_finished(NAME, stamps(inputs), outputs)


def test_a_cut_label_file_of_the_output_is_written_anew_and_a_whole_one_left(
    tmp_path: Path,
) -> None:
    study = write_study(tmp_path)
    plan = ParticipantPlan(
        study.root,
        tmp_path / "out",
        "run",
        Resources(work_dir=tmp_path / "work"),
        parcel=ParcelOptions(atlas=str(study.atlas)),
        denoise=DenoiseOptions(denoise_strategy="none"),
    )
    start = begin(plan)
    (files,) = write_labels(start, start.runs)
    whole = {path: path.read_bytes() for path in files}
    assert len(whole) == 4
    for path, content in whole.items():
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(OutputError, match="deleted or changed during this run"):
            require_labels(start, [files])
        write_labels(start, start.runs)
        assert {each: each.read_bytes() for each in files} == whole
    dates = {path: path.stat().st_mtime_ns for path in files}
    write_labels(start, start.runs)
    assert {path: path.stat().st_mtime_ns for path in files} == dates
