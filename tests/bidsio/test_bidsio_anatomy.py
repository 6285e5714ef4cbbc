"""Which anatomical brain mask a run is compared with."""

from __future__ import annotations

import pytest

from fmmtc_bidsapp.bidsio.layout.find_runs import find_bold_runs
from fmmtc_bidsapp.bidsio.layout.query import Query

SPACE, OTHER = "MNI152NLin6Asym", "MNI152NLin2009cAsym"
ANNEX = "../../.git/annex/objects/aa/bb/MD5E-s9--0.nii.gz"


def run_files(stem, grid=f"space-{SPACE}_res-2"):
    return f"{stem}_{grid}_desc-preproc_bold.nii.gz", f"{stem}_{grid}_desc-brain_mask.nii.gz"


def anat(prefix, grid=f"space-{SPACE}_res-2"):
    """Name a mask: ``sub-01`` or ``sub-01/ses-1``."""
    return f"{prefix}/anat/{prefix.replace('/', '_')}_{grid}_desc-brain_mask.nii.gz"


ONE = run_files("sub-01/func/sub-01_task-rest")
FIRST = run_files("sub-01/ses-1/func/sub-01_ses-1_task-rest")
SECOND = run_files("sub-01/ses-2/func/sub-01_ses-2_task-rest")


def masks(root, spaces=(SPACE,), file_format="auto", database_dir=None):
    runs, exclusions, _ = find_bold_runs(
        root,
        Query(),
        spaces=spaces,
        file_format=file_format,
        database_dir=database_dir,
    )
    assert exclusions == []
    found = [run.anat_mask and run.anat_mask.relative_to(root).as_posix() for run in runs]
    return found[0] if len(found) == 1 else found


def test_a_run_has_the_mask_of_its_participant_in_its_space(fmriprep):
    own = anat("sub-01")
    others = (anat("sub-01", f"space-{OTHER}_res-2"), "sub-01/anat/sub-01_desc-brain_mask.nii.gz")
    two = (*run_files("sub-02/func/sub-02_task-rest"), anat("sub-02"))
    root = fmriprep(*ONE, own, *others, *two)
    assert masks(root) == [own, anat("sub-02")]


@pytest.mark.parametrize(
    "name",
    [
        f"space-{SPACE}_res-2_desc-ribbon_mask.nii.gz",
        f"space-{SPACE}_res-2_label-GM_desc-brain_mask.json",
        f"space-{SPACE}_res-2_desc-brain_mask.json",
        f"space-{SPACE}2_desc-brain_mask.nii.gz",
        f"space-{SPACE}_a_desc-brain_mask.nii.gz",
        f"space-{SPACE}_desc-brain_mask.nii.gz.x1",
    ],
)
def test_nothing_else_is_taken_for_one(fmriprep, name):
    assert masks(fmriprep(*ONE, f"sub-01/anat/sub-01_{name}")) is None


def test_a_run_without_one_is_found_all_the_same(fmriprep):
    assert masks(fmriprep(*ONE)) is None


def test_the_mask_of_the_session_comes_before_the_one_without_a_session(fmriprep):
    root = fmriprep(*FIRST, *SECOND, anat("sub-01/ses-1"), anat("sub-01"))
    assert masks(root) == [anat("sub-01/ses-1"), anat("sub-01")]


def test_the_only_mask_of_another_session_is_that_of_the_person(fmriprep):
    root = fmriprep(*FIRST, *SECOND, anat("sub-01/ses-2"))
    assert masks(root) == [anat("sub-01/ses-2"), anat("sub-01/ses-2")]


def test_of_two_other_sessions_neither_is_taken(fmriprep):
    root = fmriprep(*FIRST, anat("sub-01/ses-2"), anat("sub-01/ses-3"))
    assert masks(root) is None


def test_of_two_scans_of_a_session_neither_is_taken(fmriprep):
    scans = [anat("sub-01", f"acq-{acq}_space-{SPACE}") for acq in ("mprage", "space")]
    assert masks(fmriprep(*ONE, *scans)) is None
    assert masks(fmriprep(*FIRST, anat("sub-01/ses-1"))) == [anat("sub-01/ses-1"), None]


@pytest.mark.parametrize(
    ("resolutions", "expected"),
    [(("_res-1", "_res-2"), "_res-2"), (("_res-1", ""), ""), ([""], "")],
)
def test_the_resolution_of_the_run_is_preferred_and_any_other_will_do(
    fmriprep, resolutions, expected
):
    found = masks(fmriprep(*ONE, *(anat("sub-01", f"space-{SPACE}{res}") for res in resolutions)))
    assert found == anat("sub-01", f"space-{SPACE}{expected}")


def test_a_mask_without_content_is_none(fmriprep):
    root = fmriprep(*ONE, anat("sub-01", f"space-{SPACE}_res-1"))
    path = root / anat("sub-01")
    path.symlink_to(ANNEX)
    assert masks(root) is None
    path.unlink()
    path.write_bytes(b"")
    assert masks(root) is None
    path.write_bytes(b"content")
    assert masks(root) == anat("sub-01")


def test_fmriprep_1_0_named_it_after_the_image(fmriprep):
    name = f"sub-01/anat/sub-01_T1w_space-{OTHER}_brainmask.nii.gz"
    run = run_files("sub-01/func/sub-01_task-rest", f"space-{OTHER}")
    assert masks(fmriprep(*run, name), (OTHER,)) == name


def test_a_cifti_series_has_none(fmriprep):
    dense = "sub-01/func/sub-01_task-rest_space-fsLR_den-91k_bold.dtseries.nii"
    assert masks(fmriprep(dense, anat("sub-01")), file_format="cifti") is None


def test_a_mask_that_came_after_the_database_was_made_is_found(fmriprep, tmp_path):
    root = fmriprep(*ONE)
    assert masks(root, database_dir=tmp_path / "db") is None
    fmriprep(anat("sub-01"))
    assert masks(root, database_dir=tmp_path / "db") == anat("sub-01")


def test_the_mask_of_another_cohort_is_not_taken(fmriprep):
    names = [
        f"sub-01/func/sub-01_task-rest_space-MNIInfant_cohort-2_desc-{each}.nii.gz"
        for each in ("preproc_bold", "brain_mask")
    ]
    anat = "sub-01/anat/sub-01_space-MNIInfant_cohort-{}_desc-brain_mask.nii.gz"
    root = fmriprep(*names, anat.format(5))

    def found():
        (run,), _, *_ = find_bold_runs(
            root,
            Query(),
            spaces=["MNIInfant:cohort-2"],
            file_format="nifti",
        )
        return run.anat_mask

    assert found() is None
    fmriprep(anat.format(2))
    assert found() == root / anat.format(2)
