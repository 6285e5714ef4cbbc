"""The filter file and the database, from the command line to the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fmmtc_bidsapp.cli.main import main

SPACE = "MNI152NLin6Asym"


@pytest.fixture
def argv(tmp_path: Path) -> list[str]:
    """A command over two sessions whose images were not fetched."""
    prep = tmp_path / "prep"
    for session in ("1", "2"):
        func = prep / "sub-01" / f"ses-{session}" / "func"
        func.mkdir(parents=True)
        stem = f"sub-01_ses-{session}_task-rest_space-{SPACE}"
        (func / f"{stem}_desc-preproc_bold.nii.gz").symlink_to("/x/annex/objects/y")
        (func / f"{stem}_desc-brain_mask.nii.gz").write_text("content")
    description = {"Name": "x", "BIDSVersion": "1.4.0", "GeneratedBy": [{"Name": "fMRIPrep"}]}
    (prep / "dataset_description.json").write_text(json.dumps(description))
    image = tmp_path / f"atlas-Tiny_space-{SPACE}_dseg.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3), dtype=np.int16), np.eye(4)), image)
    image.with_name(f"atlas-Tiny_space-{SPACE}_dseg.tsv").write_text("index\tname\n1\tone\n")
    words = [prep, tmp_path / "out", "participant", "--atlas", image, "-w", tmp_path / "work"]
    return [str(word) for word in words]


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        ('{"bold": {"session": "1"}}', 65, "ses-1_task-rest"),
        ('{"bold": {"session": "3"}}', 65, "selected: ses 3"),
        ('{"bold": {"season": "1"}}', 2, "those allowed are datatype, suffix, subject, session"),
        ('{"anat": {}}', 2, "those allowed are bold"),
    ],
)
def test_a_filter_file_ends_with_the_documented_code(
    argv: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str,
    code: int,
    words: str,
) -> None:
    (tmp_path / "filter.json").write_text(content)
    assert main([*argv, "--bids-filter-file", str(tmp_path / "filter.json")]) == code
    said = "".join(capsys.readouterr())
    assert words in said
    assert "ses-2" not in said


def test_the_database_is_kept_where_asked_for(argv: list[str], tmp_path: Path) -> None:
    assert main([*argv, "--bids-database-dir", str(tmp_path / "db")]) == 65
    assert len(list((tmp_path / "db").rglob("*.sqlite"))) == 1


def test_a_database_in_the_input_is_refused(
    argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*argv, "--bids-database-dir", str(tmp_path / "prep" / "db")]) == 2
    assert "--bids-database-dir" in capsys.readouterr().err
    assert not (tmp_path / "prep" / "db").exists()
