"""Files with names of nobody among those of a study, from the command line to the closing table."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_study import write_study

STRAYS = (
    b"ssub-01_task-rest_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz",
    b"sub-01_task-\xff_bold.nii.gz",
)
LOST = "sub-01_task-rest_reg-x_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz"


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "no templates"))
    monkeypatch.setenv("TEMPLATEFLOW_AUTOUPDATE", "off")
    study = write_study(tmp_path / "Study [2024] Größe {1}*?", ["01", "02"])
    for name in (*STRAYS, LOST.encode()):
        Path(os.fsdecode(os.fsencode(study.func()) + b"/" + name)).write_bytes(b"content")
    places = [str(study.root), str(study.root.parent / "out [1]"), "participant"]
    work = ["-w", str(study.root.parent / "work [1] ü")]
    chosen = ["--atlas", str(study.atlas), "--denoise-strategy", "none", "--nprocs", "1"]
    return [sys.executable, "-m", "fmmtc_bidsapp", *places, *work, *chosen]


def test_a_dry_run_names_every_file_of_nobody(command: list[str]) -> None:
    done = subprocess.run([*command, "--dry-run"], capture_output=True, check=False)
    printed = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert "no valid run name: " in printed
    assert "ssub-01_task-rest" in printed
    assert r"sub-01_task-\xff_bold.nii.gz is ignored" in printed
    assert f"excluded: sub-01, {command[3]}/sub-01/func/{LOST}" in printed
    assert "2 runs to do" in printed


@pytest.mark.slow
def test_files_of_nobody_stop_nobody_and_brackets_in_paths_do_not_matter(
    command: list[str],
) -> None:
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 1, done.stderr.decode()
    out = Path(command[4])
    for person in ("01", "02"):
        assert len(list((out / f"sub-{person}" / "func").iterdir())) > 4
        assert (out / f"sub-{person}.html").is_file()
    (log,) = (out / "logs").glob("*_strays.tsv")
    header, *rows = log.read_text(encoding="utf-8").splitlines()
    assert header == "path\twhy"
    assert len(rows) == 2
    assert any(r"sub-01_task-\xff_bold.nii.gz" in row for row in rows)
    (table,) = (out / "logs").glob("*_outcomes.tsv")
    ended = table.read_text(encoding="utf-8")
    assert f"{LOST} is ignored: BIDS has no entity reg-" in ended
    assert "sub-02\tdone" in ended
    again = subprocess.run(command, capture_output=True, check=False)
    assert again.returncode == 1
    assert "2 runs already complete" in again.stdout.decode()
