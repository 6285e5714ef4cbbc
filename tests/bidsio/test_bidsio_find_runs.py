import json
import os
import shutil
import tarfile
import time
from pathlib import Path

import pytest
from bids.layout import BIDSLayoutIndexer

from fmmtc_bidsapp.bidsio.layout.filters import read_filter
from fmmtc_bidsapp.bidsio.layout.find_fmriprep import find_fmriprep
from fmmtc_bidsapp.bidsio.layout.find_runs import find_bold_runs
from fmmtc_bidsapp.bidsio.layout.query import Query
from fmmtc_bidsapp.errors import InputError, OutputError, UsageError

SPACE, OTHER = "MNI152NLin6Asym", "MNI152NLin2009cAsym"


def find(root, **asked):
    return find_all(root, **asked)[:2]


def find_all(
    root,
    *,
    spaces=(SPACE,),
    file_format="auto",
    participants=(),
    sessions=(),
    tasks=(),
    runs=(),
    filter_file=None,
    database_dir=None,
    aroma_dir=None,
):
    return find_bold_runs(
        root,
        Query(participants, sessions, tasks, runs, read_filter(filter_file) if filter_file else {}),
        spaces=spaces,
        file_format=file_format,
        database_dir=database_dir,
        aroma_dir=aroma_dir,
    )


def run_files(stem, grid=f"space-{SPACE}_res-2"):
    return (
        f"{stem}_{grid}_desc-preproc_bold.nii.gz",
        f"{stem}_{grid}_desc-brain_mask.nii.gz",
        f"{stem}_desc-confounds_timeseries.tsv",
    )


def test_a_run_comes_with_its_own_mask_confounds_and_repetition_time(fmriprep):
    bold, mask, confounds = run_files("sub-01/ses-1/func/sub-01_ses-1_task-rest_run-1")
    root = fmriprep(bold, mask, confounds, tr_s=2.5)
    (run,), exclusions = find(root)
    assert exclusions == []
    assert (run.bold, run.mask, run.confounds) == (root / bold, root / mask, root / confounds)
    assert dict(run.entities) == {"sub": "01", "ses": "1", "task": "rest", "run": "1"}
    assert (run.space, run.res, run.tr_s) == (SPACE, "2", 2.5)


def test_mask_and_confounds_of_another_acquisition_are_never_taken(fmriprep):
    plain = run_files("sub-01/func/sub-01_task-rest")
    other = run_files("sub-01/func/sub-01_task-rest_acq-mb")
    runs, _ = find(fmriprep(plain[0], plain[1], *other))
    without, with_acq = sorted(runs, key=lambda run: len(run.entities))
    assert (without.mask.name, without.confounds) == (Path(plain[1]).name, None)
    assert with_acq.mask.name == Path(other[1]).name


def test_a_run_without_its_own_mask_is_excluded_and_the_mask_named(fmriprep):
    plain = run_files("sub-01/func/sub-01_task-rest")
    other = run_files("sub-01/func/sub-01_task-rest_acq-mb")
    (run,), (exclusion,) = find(fmriprep(plain[0], *other))
    assert run.entities["acq"] == "mb"
    assert "desc-brain_mask" in exclusion.reason


def test_confounds_under_their_name_of_fmriprep_20_0_are_found(fmriprep):
    bold, mask, _ = run_files("sub-01/func/sub-01_task-rest")
    regressors = "sub-01/func/sub-01_task-rest_desc-confounds_regressors.tsv"
    (run,), _ = find(fmriprep(bold, mask, regressors))
    assert run.confounds.name == Path(regressors).name


def test_a_smoothed_aroma_image_never_counts(fmriprep):
    aroma = f"sub-01/func/sub-01_task-rest_space-{SPACE}_desc-smoothAROMAnonaggr_bold.nii.gz"
    other = run_files("sub-01/func/sub-01_task-rest", "space-MNI152NLin2009cAsym_res-2")
    runs, (exclusion,) = find(fmriprep(aroma, *other))
    assert runs == []
    assert "only in MNI152NLin2009cAsym" in exclusion.reason
    assert "--output-spaces MNI152NLin6Asym:res-2" in exclusion.reason


def test_a_space_asked_for_by_name_is_taken(fmriprep):
    root = fmriprep(*run_files("sub-01/func/sub-01_task-rest", "space-MNI152NLin2009cAsym"))
    (run,), _ = find(root, spaces=(OTHER,))
    assert (run.space, run.res) == (OTHER, None)


def test_each_run_is_taken_in_the_first_space_it_has(fmriprep):
    both, one = "sub-01/func/sub-01_task-rest", "sub-02/func/sub-02_task-rest"
    grid = f"space-{OTHER}_res-2"
    root = fmriprep(*run_files(both), *run_files(both, grid), *run_files(one, grid))
    first, second = find(root, spaces=(SPACE, OTHER))[0]
    assert (first.space, second.space) == (SPACE, OTHER)
    for run in (first, second):
        assert all(run.space in path.name for path in (run.bold, run.mask))
    assert [run.space for run in find(root, spaces=(OTHER, SPACE))[0]] == [OTHER, OTHER]


def test_a_preferred_space_that_was_not_fetched_is_not_replaced_but_the_other_is_named(fmriprep):
    stem = "sub-01/func/sub-01_task-rest"
    bold, mask, confounds = run_files(stem)
    root = fmriprep(mask, confounds, *run_files(stem, f"space-{OTHER}_res-2"))
    (root / bold).symlink_to("../.git/annex/objects/aa/bb/MD5E-s9--0.nii.gz")
    runs, (exclusion,) = find(root, spaces=(SPACE, OTHER))
    assert runs == []
    assert exclusion.reason.endswith(
        f"run `datalad get {root / bold}` (the image in {OTHER} exists: choose it with "
        f"--space {OTHER})"
    )


def test_a_run_in_no_wanted_space_names_those_it_has_and_what_to_run(fmriprep):
    stem = "sub-01/func/sub-01_task-rest"
    dense = f"{stem}_space-fsLR_den-170k_bold.dtseries.nii"
    root = fmriprep(*run_files(stem, "space-T1w"), f"{stem}_desc-preproc_bold.nii.gz", dense)
    _, (exclusion,) = find(root, spaces=(SPACE, OTHER))
    assert exclusion.reason == (
        f"task-rest: no desc-preproc BOLD in {SPACE} or {OTHER}, nor CIFTI of fsLR 91k, only in "
        f"T1w, native, CIFTI of fsLR 170k: run fMRIPrep with --output-spaces {SPACE}:res-2"
    )


def dense_files(stem, den="91k"):
    return f"{stem}_space-fsLR_den-{den}_bold.dtseries.nii", f"{stem}_desc-confounds_timeseries.tsv"


def test_a_cifti_series_has_no_mask_and_says_its_density(fmriprep):
    bold, confounds = dense_files("sub-01/func/sub-01_task-rest")
    root = fmriprep(bold, confounds)
    (run,), exclusions = find(root)
    assert exclusions == []
    assert (run.bold, run.confounds, run.mask) == (root / bold, root / confounds, None)
    assert (run.space, run.den, run.res, run.boldref) == ("fsLR", "91k", None, None)
    assert (run.file_format, run.tr_s) == ("cifti", 2.0)
    assert dict(run.entities) == {"sub": "01", "task": "rest"}


@pytest.mark.parametrize(
    ("file_format", "spaces", "expected"),
    [
        ("auto", (SPACE, OTHER), OTHER),
        ("nifti", (SPACE, OTHER), OTHER),
        ("cifti", (SPACE, OTHER), "fsLR"),
        ("auto", (SPACE,), "fsLR"),
    ],
)
def test_nifti_comes_before_cifti_unless_one_is_asked_for(fmriprep, file_format, spaces, expected):
    stem = "sub-01/func/sub-01_task-rest"
    root = fmriprep(*run_files(stem, f"space-{OTHER}"), dense_files(stem)[0])
    (run,), _ = find(root, spaces=spaces, file_format=file_format)
    assert run.space == expected


def test_nifti_alone_asked_for_and_only_cifti_there_is_told(fmriprep):
    _, (exclusion,) = find(
        fmriprep(*dense_files("sub-01/func/sub-01_task-rest")), file_format="nifti"
    )
    assert exclusion.reason == (
        f"task-rest: no desc-preproc BOLD in {SPACE}, only in CIFTI of fsLR 91k: run fMRIPrep with "
        f"--output-spaces {SPACE}:res-2"
    )


@pytest.mark.parametrize(
    ("name", "there"),
    [("space-fsLR_den-170k", "fsLR 170k"), ("space-fsaverage5", "fsaverage5 unknown density")],
)
def test_cifti_of_another_density_is_excluded_with_the_reason(fmriprep, name, there):
    root = fmriprep(f"sub-01/func/sub-01_task-rest_{name}_bold.dtseries.nii")
    runs, (exclusion,) = find(root, file_format="cifti")
    assert runs == []
    assert exclusion.reason == (
        f"task-rest: no CIFTI of fsLR 91k, only in CIFTI of {there}: run fMRIPrep with "
        "--cifti-output 91k"
    )


def test_a_cifti_series_that_was_not_fetched_says_how(fmriprep):
    bold, confounds = dense_files("sub-01/func/sub-01_task-rest")
    root = fmriprep(confounds)
    (root / bold).symlink_to("../.git/annex/objects/aa/bb/MD5E-s9--0.nii")
    _, (exclusion,) = find(root, file_format="cifti")
    assert exclusion.reason == f"task-rest: image not fetched: run `datalad get {root / bold}`"


@pytest.mark.parametrize("ending", ["bold.json", "bold.dtseries.json"])
def test_both_sidecars_of_a_cifti_series_are_read(fmriprep, ending):
    bold, confounds = dense_files("sub-01/func/sub-01_task-rest")
    root = fmriprep(bold, confounds, tr_s=None)
    stem = bold.removesuffix("bold.dtseries.nii")
    (root / f"{stem}{ending}").write_text('{"RepetitionTime": 0.8, "StartTime": 0.4}')
    (run,), _ = find(root)
    assert (run.tr_s, run.start_time_s) == (0.8, 0.4)


def test_the_sidecar_of_a_cifti_series_is_not_one_of_the_image(fmriprep):
    stem = "sub-01/func/sub-01_task-rest"
    root = fmriprep(*run_files(stem), tr_s=2.0)
    for ending in ("bold.json", "bold.dtseries.json"):
        (root / f"{stem}_space-fsLR_den-91k_{ending}").write_text('{"RepetitionTime": 0.8}')
    (run,), _ = find(root)
    assert run.tr_s == 2.0


def test_the_reference_volume_is_of_the_same_space_and_resolution(fmriprep):
    stem = "sub-01/func/sub-01_task-rest"
    others = [
        "",
        "_desc-coreg",
        f"_space-{SPACE}_res-1",
        f"_space-{SPACE}",
        f"_space-{OTHER}_res-2",
    ]
    others.append(f"_space-{SPACE}_res-2_desc-coreg")
    root = fmriprep(*run_files(stem), *(f"{stem}{each}_boldref.nii.gz" for each in others))
    (run,), _ = find(root)
    assert run.boldref is None
    own = root / f"{stem}_space-{SPACE}_res-2_boldref.nii.gz"
    own.write_bytes(b"content")
    (run,), _ = find(root)
    assert run.boldref == own


def test_a_reference_volume_that_was_not_fetched_is_done_without(fmriprep):
    stem = "sub-01/func/sub-01_task-rest"
    root = fmriprep(*run_files(stem))
    own = root / f"{stem}_space-{SPACE}_res-2_boldref.nii.gz"
    own.symlink_to("../.git/annex/objects/aa/bb/MD5E-s9--0.nii.gz")
    (run,), exclusions = find(root)
    assert (run.boldref, exclusions) == (None, [])


@pytest.fixture
def aroma(tmp_path):
    """Return a function that adds tables to an fMRIPost-AROMA-like folder."""
    root = tmp_path / "aroma"

    def add(*names):
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("aroma_motion_01\n0\n")
        return root

    return add


def test_aroma_components_are_of_exactly_that_run(fmriprep, aroma):
    stems = [f"sub-01/func/sub-01_task-rest{each}" for each in ("", "_acq-mb", "_run-1", "_run-2")]
    root = fmriprep(*(name for stem in stems for name in run_files(stem)))
    named = [f"{stem}_desc-aroma_timeseries.tsv" for stem in stems[1:3]]
    folder = aroma(*named, f"{stems[0]}_res-2_desc-melodic_mixing.tsv")
    runs, exclusions = find(root, aroma_dir=folder)
    assert exclusions == []
    found = {run.bold.name.partition("_space")[0]: run.aroma for run in runs}
    assert found == {
        Path(stem).name: folder / name if name in named else None
        for stem, name in ((stem, f"{stem}_desc-aroma_timeseries.tsv") for stem in stems)
    }
    assert {run.aroma for run in find(root)[0]} == {None}


def test_aroma_components_that_were_not_fetched_exclude_their_run(fmriprep, aroma):
    stem = "sub-01/func/sub-01_task-rest"
    folder = aroma(f"{stem}_desc-aroma_timeseries.tsv")
    (folder / f"{stem}_desc-aroma_timeseries.tsv").write_text("/annex/objects/MD5E-s9--0.tsv\n")
    runs, (exclusion,) = find(fmriprep(*run_files(stem)), aroma_dir=folder)
    assert runs == []
    assert "AROMA components not fetched: run `datalad get" in exclusion.reason


def test_a_table_of_aroma_that_is_nobodys_is_named(fmriprep, aroma):
    stem = "sub-01/func/sub-01_task-rest"
    folder = aroma("sub-01/func/sub-01_task-rest_run001_desc-aroma_timeseries.tsv")
    (run,), exclusions, (stray,) = find_all(fmriprep(*run_files(stem)), aroma_dir=folder)
    assert (run.aroma, exclusions) == (None, [])
    assert stray.path.parent == folder / "sub-01" / "func"


@pytest.mark.parametrize("which", [0, 1])
def test_an_image_or_mask_that_is_there_twice_excludes_its_run_and_names_both(fmriprep, which):
    names = run_files("sub-01/func/sub-01_task-rest")
    double = names[which].removesuffix(".gz")
    runs, (exclusion,) = find(fmriprep(*names, double))
    assert runs == []
    assert f"{Path(double).name} and {Path(names[which]).name} both exist" in exclusion.reason


def test_a_folder_of_aroma_that_is_not_there_is_wrong_use(fmriprep, tmp_path):
    root = fmriprep(*run_files("sub-01/func/sub-01_task-rest"))
    with pytest.raises(UsageError, match=r"Folder of fMRIPost-AROMA not found"):
        find(root, aroma_dir=tmp_path / "absent")


def test_of_two_resolutions_the_atlas_one_is_taken(fmriprep):
    stem = "sub-01/func/sub-01_task-rest"
    names = [*run_files(stem, f"space-{SPACE}_res-1"), *run_files(stem, f"space-{SPACE}_res-02")]
    (run,), _ = find(fmriprep(*names))
    assert run.res == "02"
    assert "res-02" in run.mask.name


def test_single_echoes_never_count(fmriprep):
    echo = "sub-01/func/sub-01_task-rest_echo-1_desc-preproc_bold.nii.gz"
    alone = "sub-02/func/sub-02_task-rest_echo-1_desc-preproc_bold.nii.gz"
    (run,), (exclusion,) = find(fmriprep(echo, alone, *run_files("sub-01/func/sub-01_task-rest")))
    assert run.participant_id == "sub-01"
    assert "echo" not in run.entities
    assert exclusion.participant_id == "sub-02"
    assert "single echoes" in exclusion.reason


def test_an_image_that_was_not_fetched_excludes_its_run_only(fmriprep):
    bold, mask, confounds = run_files("sub-01/ses-a/func/sub-01_ses-a_task-rest")
    root = fmriprep(mask, confounds, *run_files("sub-02/func/sub-02_task-rest"))
    (root / bold).symlink_to("../.git/annex/objects/aa/bb/MD5E-s9--0.nii.gz")
    (run,), (exclusion,) = find(root)
    assert run.participant_id == "sub-02"
    assert (exclusion.participant_id, exclusion.session_id) == ("sub-01", "ses-a")
    assert exclusion.reason == f"task-rest: image not fetched: run `datalad get {root / bold}`"


def test_confounds_that_are_an_annex_pointer_exclude_their_run(fmriprep):
    names = run_files("sub-01/func/sub-01_task-rest")
    root = fmriprep(*names)
    (root / names[2]).write_text("/annex/objects/MD5E-s9--00000000000000000000000000000000.tsv\n")
    runs, (exclusion,) = find(root)
    assert runs == []
    assert "confounds not fetched" in exclusion.reason


def test_a_broken_sidecar_excludes_its_run_only(fmriprep):
    names = run_files("sub-01/func/sub-01_task-rest")
    root = fmriprep(*names, *run_files("sub-02/func/sub-02_task-rest"))
    (root / names[0].replace(".nii.gz", ".json")).write_text("{")
    (run,), (exclusion,) = find(root)
    assert run.participant_id == "sub-02"
    assert "is not valid JSON" in exclusion.reason


def test_a_repetition_time_of_zero_excludes_its_run(fmriprep):
    root = fmriprep(*run_files("sub-01/func/sub-01_task-rest"), tr_s=0)
    runs, (exclusion,) = find(root)
    assert runs == []
    assert "RepetitionTime" in exclusion.reason


@pytest.mark.parametrize("told", ["1e400", "1" + "0" * 400, "1e-320", "2000", "NaN", "true", '"2"'])
def test_a_repetition_time_that_can_be_none_excludes_its_run(fmriprep, told):
    image, *others = run_files("sub-01/func/sub-01_task-rest")
    root = fmriprep(image, *others)
    (root / image.replace(".nii.gz", ".json")).write_text(f'{{"RepetitionTime": {told}}}')
    runs, (exclusion,) = find(root)
    assert runs == []
    assert "it must be a number of seconds, 0.001 to 100" in exclusion.reason


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"VolumeTiming": [0, 2, 4, 8.5, 10.5]}, "steps of 2 to 4.5 s"),
        ({"VolumeTiming": [0, 2, 4], "RepetitionTime": 2.5}, "remove the wrong one"),
        ({"VolumeTiming": [0, 2, 4, 8.5], "RepetitionTime": 2}, "not evenly spaced"),
        ({"VolumeTiming": [0, 2, 1, 3]}, "ascending"),
        ({"VolumeTiming": [0, "2", 4]}, "ascending"),
        ({"VolumeTiming": [0]}, "ascending"),
        ({"VolumeTiming": 2}, "ascending"),
    ],
)
def test_volumes_that_are_not_evenly_spaced_in_time_exclude_their_run(fmriprep, told, words):
    image, *others = run_files("sub-01/func/sub-01_task-rest")
    root = fmriprep(image, *others)
    (root / image.replace(".nii.gz", ".json")).write_text(json.dumps(told))
    runs, (exclusion,) = find(root)
    assert runs == []
    assert words in exclusion.reason


def test_even_times_of_volumes_give_the_repetition_time(fmriprep):
    image, *others = run_files("sub-01/func/sub-01_task-rest")
    root = fmriprep(image, *others)
    told = {"VolumeTiming": [0.5, 2.501, 4.5, 6.499]}
    (root / image.replace(".nii.gz", ".json")).write_text(json.dumps(told))
    (run,), _ = find(root)
    assert run.tr_s == pytest.approx(2, abs=1e-3)


@pytest.mark.parametrize("told", ["1e400", "1" + "0" * 400, "NaN", "true", '"0.5"'])
def test_a_start_time_that_is_no_number_is_left_open(fmriprep, told):
    image, *others = run_files("sub-01/func/sub-01_task-rest")
    root = fmriprep(image, *others)
    (root / image.replace(".nii.gz", ".json")).write_text(f'{{"StartTime": {told}}}')
    (run,), _ = find(root)
    assert run.start_time_s is None


def test_no_repetition_time_anywhere_is_left_open(fmriprep):
    (run,), _ = find(fmriprep(*run_files("sub-01/func/sub-01_task-rest"), tr_s=None))
    assert run.tr_s is None


def test_labels_are_taken_with_and_without_prefix_and_runs_with_any_zeros(fmriprep):
    names = [
        name
        for sub in ("01", "02")
        for run in ("1", "2")
        for name in run_files(f"sub-{sub}/func/sub-{sub}_task-rest_run-{run}")
    ]
    (run,), _ = find(fmriprep(*names), participants=["sub-02"], tasks=["rest"], runs=["01"])
    assert dict(run.entities) == {"sub": "02", "task": "rest", "run": "1"}


def test_a_participant_asked_for_and_absent_is_an_exclusion(fmriprep):
    root = fmriprep(*run_files("sub-01/func/sub-01_task-rest"))
    runs, (exclusion,) = find(root, participants=["01", "1"])
    assert len(runs) == 1
    assert exclusion.participant_id == "sub-1"


def test_a_participant_without_bold_is_an_exclusion(fmriprep):
    root = fmriprep(*run_files("sub-01/func/sub-01_task-rest"), "sub-02/anat/sub-02_T1w.nii.gz")
    _, (exclusion,) = find(root)
    assert exclusion.participant_id == "sub-02"


def test_a_filter_that_selects_nothing_is_echoed(fmriprep):
    root = fmriprep(*run_files("sub-01/func/sub-01_task-rest"))
    with pytest.raises(InputError, match="task faces"):
        find(root, tasks=["faces"])


def test_leftovers_with_names_that_are_not_bids_do_no_harm(fmriprep):
    names = run_files("sub-01/func/sub-01_task-rest")
    root = fmriprep(
        *names, "sub-01/func/.sub-01_task-rest_bold.nii.gz.x1", "sub-01/func/a_bold.nii"
    )
    runs, exclusions, (stray,) = find_all(root)
    assert (len(runs), exclusions) == (1, [])
    assert stray.path == root / "sub-01/func/a_bold.nii"


IMAGE = f"sub-01_task-rest_space-{SPACE}_res-2_desc-preproc_bold.nii.gz"


@pytest.mark.parametrize(
    "name",
    [
        f"s{IMAGE}",
        f"swra{IMAGE}",
        f"sub-02{IMAGE.removeprefix('sub-01')}",
        IMAGE.replace("bold.nii.gz", "bold (1).nii.gz"),
        IMAGE.replace("bold.nii.gz", "bold copy.nii.gz"),
        "rest.nii",
        "_desc-preproc_bold.nii.gz",
        f"sub-01_sub-01{IMAGE.removeprefix('sub-01')}",
        b"sub-01_task-\xff_timeseries.tsv",
        b"\xe4.nii.gz",
    ],
)
def test_a_file_that_is_no_run_of_anybody_stops_nobody_and_is_named(fmriprep, name):
    stem = "sub-01/func/sub-01_task-rest"
    root = fmriprep(*run_files(stem), *run_files("sub-03/func/sub-03_task-rest"))
    stray = Path(os.fsdecode(os.fsencode(root / "sub-01/func/") + b"/" + os.fsencode(name)))
    stray.write_bytes(b"content")
    runs, exclusions, strays = find_all(root)
    assert [run.participant_id for run in runs] == ["sub-01", "sub-03"]
    listed = [each.path for each in strays] + [
        stray for each in exclusions if str(stray) in each.reason
    ]
    assert listed == [stray]


@pytest.mark.parametrize(
    "name",
    [
        "sub-01_task-rest_run001_desc-preproc_bold.nii.gz",
        "sub-01_task-rest_reg-x_desc-preproc_bold.nii.gz",
        "sub-01_task-re_st_desc-preproc_bold.nii",
        "sub-01_task-rest_run-1_run-2_desc-preproc_bold.nii.gz",
        "sub-01_task-rest_run 3_bold.dtseries.nii",
        "sub-01_task-rest_bold_run001_space-T1w_preproc.nii.gz",
        b"sub-01_task-\xff_desc-preproc_bold.nii.gz",
    ],
)
def test_an_image_whose_name_says_no_run_is_listed_with_its_person(fmriprep, name):
    root = fmriprep(*run_files("sub-01/func/sub-01_task-rest_run-02"))
    stray = Path(os.fsdecode(os.fsencode(root / "sub-01/func/") + b"/" + os.fsencode(name)))
    stray.write_bytes(b"content")
    (run,), (exclusion,), strays = find_all(root)
    assert (run.entities["run"], strays) == ("02", [])
    assert exclusion.participant_id == "sub-01"
    assert str(stray) in exclusion.reason


def test_a_person_of_whom_only_badly_named_images_are_there_is_not_said_to_have_nothing(fmriprep):
    bad = "sub-02/func/sub-02_task-rest_run001_desc-preproc_bold.nii.gz"
    _, (exclusion,), _ = find_all(fmriprep(*run_files("sub-01/func/sub-01_task-rest"), bad))
    assert (exclusion.participant_id, exclusion.stage) == ("sub-02", "find")


def test_files_in_a_copied_folder_are_not_runs_of_the_person_they_are_named_after(fmriprep):
    bold, mask, confounds = run_files("sub-01/func/sub-01_task-rest")
    copies = [each.replace("sub-01/", "sub-01 copy/", 1) for each in (bold, mask, confounds)]
    root = fmriprep(bold, mask, confounds, *copies)
    (run,), _, strays = find_all(root)
    assert run.bold == root / bold
    assert {each.path for each in strays} == {root / each for each in copies}


def test_a_run_in_the_folder_of_another_session_is_not_taken(fmriprep):
    own = run_files("sub-01/ses-1/func/sub-01_ses-1_task-rest")
    wrong = run_files("sub-01/ses-2/func/sub-01_ses-1_task-rest")
    root = fmriprep(*own, *wrong)
    (run,), (exclusion,), _ = find_all(root)
    assert run.bold == root / own[0]
    assert "the name has ses-1, the folder is ses-2" in exclusion.reason


def test_a_stray_file_of_a_task_that_was_not_asked_for_is_not_told(fmriprep):
    bad = "sub-01/func/sub-01_task-faces_run001_desc-preproc_bold.nii.gz"
    root = fmriprep(*run_files("sub-01/func/sub-01_task-rest"), bad)
    assert find_all(root, tasks=["rest"])[1:] == ([], [])
    assert len(find_all(root)[1]) == 1


def test_where_there_is_no_run_at_all_the_files_that_might_be_some_are_named(fmriprep):
    bad = "sub-01/func/sub-01_task-rest_run001_desc-preproc_bold.nii.gz"
    root = fmriprep(bad)
    with pytest.raises(InputError, match="has no BOLD run") as caught:
        find(root)
    assert str(root / bad) in str(caught.value)


def test_files_of_fmriprep_1_0_make_a_run_and_its_aroma_image_does_not(fmriprep):
    stem = f"sub-01/func/sub-01_task-rest_run-01_bold_space-{SPACE}"
    mask, confounds = (
        f"{stem}_brainmask.nii.gz",
        "sub-01/func/sub-01_task-rest_run-01_bold_confounds.tsv",
    )
    aroma = f"{stem}_variant-smoothAROMAnonaggr_preproc.nii.gz"
    root = fmriprep(f"{stem}_preproc.nii.gz", mask, confounds, aroma)
    (run,), exclusions = find(root)
    assert exclusions == []
    assert run.bold == root / f"{stem}_preproc.nii.gz"
    assert (run.mask, run.confounds) == (root / mask, root / confounds)
    assert dict(run.entities) == {"sub": "01", "task": "rest", "run": "01"}
    assert run.tr_s == 2.0


def test_named_confounds_are_preferred_to_a_bare_table(fmriprep):
    names = run_files("sub-01/func/sub-01_task-rest")
    (run,), _ = find(fmriprep(*names, "sub-01/func/sub-01_task-rest_timeseries.tsv"))
    assert run.confounds.name == Path(names[2]).name


def test_every_entity_tells_runs_apart(fmriprep):
    extra = ("", "_acq-mb", "_ce-gad", "_rec-norm", "_dir-AP", "_run-1", "_acq-mb_dir-AP_run-1")
    stems = [f"sub-01/func/sub-01_task-rest{each}" for each in extra]
    runs, _ = find(fmriprep(*(name for stem in stems for name in run_files(stem))))
    assert len(runs) == len(stems)
    for run in runs:
        stem = run.bold.name.partition("_space")[0]
        assert run.mask.name.partition("_space")[0] == stem
        assert run.confounds.name.partition("_desc")[0] == stem


def test_derivatives_nested_in_the_dataset_are_not_looked_into(fmriprep):
    nested = run_files("sub-01/func/sub-01_task-rest")
    root = fmriprep(
        *nested,
        *(f"derivatives/fmriprep/{name}" for name in nested),
        *(f"fmripost-aroma/{name}" for name in run_files("sub-02/func/sub-02_task-rest")),
    )
    (run,), exclusions = find(root)
    assert (run.participant_id, exclusions) == ("sub-01", [])


@pytest.fixture
def sessions_and_runs(fmriprep):
    """Two participants with two sessions of a plain run and one of each acquisition and run."""
    return fmriprep(
        *(
            name
            for sub in ("01", "02")
            for ses in ("1", "2")
            for rest in ("", "_acq-mb", "_acq-mb_run-01", "_acq-se_run-02")
            for name in run_files(f"sub-{sub}/ses-{ses}/func/sub-{sub}_ses-{ses}_task-rest{rest}")
        )
    )


@pytest.mark.parametrize(
    ("bold", "expected"),
    [
        ({}, 16),
        ({"session": "1"}, 8),
        ({"session": "ses-1", "acquisition": None}, 2),
        ({"acquisition": "*"}, 12),
        ({"run": "*"}, 8),
        ({"run": None}, 8),
        ({"run": 1}, 4),
        ({"run": ["01", "2"], "session": "2"}, 4),
        ({"acquisition": ["se", None]}, 8),
        ({"subject": "02", "datatype": "func", "suffix": "bold", "task": "rest"}, 8),
    ],
)
def test_a_filter_file_keeps_the_runs_it_describes(sessions_and_runs, tmp_path, bold, expected):
    file = tmp_path / "filter.json"
    file.write_text(json.dumps({"bold": bold}))
    runs, _ = find(sessions_and_runs, filter_file=file)
    assert len(runs) == expected


def test_labels_and_a_filter_file_must_both_hold(sessions_and_runs, tmp_path):
    file = tmp_path / "filter.json"
    file.write_text('{"bold": {"acquisition": null}}')
    (run,), _ = find(sessions_and_runs, participants=["01"], sessions=["2"], filter_file=file)
    assert dict(run.entities) == {"sub": "01", "ses": "2", "task": "rest"}


def test_a_filter_file_that_selects_nothing_is_echoed(sessions_and_runs, tmp_path):
    file = tmp_path / "filter.json"
    file.write_text('{"bold": {"direction": "*", "acquisition": null, "run": [1, 2]}}')
    with pytest.raises(InputError, match=r"dir \*, acq \(absent\), run 1 2"):
        find(sessions_and_runs, filter_file=file)


def test_only_the_folders_of_the_participants_asked_for_are_read(fmriprep, monkeypatch):
    root = fmriprep(
        *run_files("sub-01/func/sub-01_task-rest"), *run_files("sub-010/func/sub-010_task-rest")
    )
    seen = []
    own = BIDSLayoutIndexer._index_dir

    def index_dir(self, path, config, force=None):
        seen.append(Path(path.path).relative_to(root).as_posix())
        return own(self, path, config, force)

    monkeypatch.setattr(BIDSLayoutIndexer, "_index_dir", index_dir)
    find(root, participants=["01"])
    assert seen == [".", "sub-01", "sub-01/func"]


def test_no_database_is_left_anywhere_by_default(fmriprep, tmp_path):
    root = fmriprep(*run_files("sub-01/func/sub-01_task-rest"))
    before = sorted(tmp_path.rglob("*"))
    find(root)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_database_is_made_once_and_read_again(fmriprep, tmp_path, monkeypatch):
    root = fmriprep(*run_files("sub-01/func/sub-01_task-rest"))
    before = sorted(root.rglob("*"))
    first = find(root, database_dir=tmp_path / "db")
    assert sorted(root.rglob("*")) == before
    monkeypatch.setattr(BIDSLayoutIndexer, "__call__", None)
    assert find(root, database_dir=tmp_path / "db") == first


def test_a_database_of_one_participant_or_dataset_does_not_answer_for_another(fmriprep, tmp_path):
    names = [*run_files("sub-01/func/sub-01_task-rest"), *run_files("sub-02/func/sub-02_task-rest")]
    root = fmriprep(*names)
    for label in ("01", "02"):
        (run,), _ = find(root, participants=[label], database_dir=tmp_path / "db")
        assert run.participant_id == f"sub-{label}"
    other = tmp_path / "other"
    shutil.copytree(root, other)
    runs, _ = find(other, database_dir=tmp_path / "db")
    assert [run.bold.is_relative_to(other) for run in runs] == [True, True]


def test_a_broken_database_names_itself(fmriprep, tmp_path):
    root = fmriprep(*run_files("sub-01/func/sub-01_task-rest"))
    find(root, database_dir=tmp_path / "db")
    (database,) = (tmp_path / "db").rglob("*.sqlite")
    database.write_text("broken")
    with pytest.raises(OutputError, match=r"db.* cannot be written or read .*Delete it"):
        find(root, database_dir=tmp_path / "db")


def test_a_database_that_cannot_be_written_is_an_output_error(fmriprep, tmp_path):
    root = fmriprep(*run_files("sub-01/func/sub-01_task-rest"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="bids-database-dir"):
        find(root, database_dir=tmp_path / "file" / "db")


def unpack(archive, folder):
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="tar")


@pytest.mark.slow
def test_all_76_people_of_a_clone_without_content_are_listed_with_reasons(shared, tmp_path):
    unpack(shared / "data" / "ds000208-skeleton.tar.gz", tmp_path)
    root = find_fmriprep(
        tmp_path / "ds000208", {"fmriprep": next(tmp_path.glob("**/ds000208-fmriprep"))}
    )
    began = time.monotonic()
    runs, exclusions = find(root, spaces=(SPACE, OTHER))
    assert time.monotonic() - began < 20
    assert runs == []
    assert [each.participant_id for each in exclusions] == [f"sub-{n:02d}" for n in range(1, 77)]
    unfetched = "image not fetched: run `datalad get "
    assert all(f"task-rest: {unfetched}" in each.reason for each in exclusions)
    assert all(f"space-{OTHER}_res-2" in each.reason for each in exclusions)
    _, exclusions = find(root, file_format="nifti")
    assert all(f"only in {OTHER}" in each.reason for each in exclusions)
    _, exclusions = find(root, file_format="cifti")
    assert all("den-91k_bold.dtseries.nii`" in each.reason for each in exclusions)


def describe(folder, maker):
    folder.mkdir(parents=True)
    text = json.dumps({"Name": "x", "GeneratedBy": [{"Name": maker}]})
    (folder / "dataset_description.json").write_text(text)
    return folder


def test_the_derivatives_named_by_the_user_come_first(tmp_path):
    bids, named = describe(tmp_path / "bids", "fMRIPrep"), describe(tmp_path / "named", "fMRIPrep")
    assert find_fmriprep(bids, {"fmriprep": named}) == named


def test_an_fmriprep_dataset_given_as_input_is_itself(tmp_path):
    bids = describe(tmp_path / "bids", "fMRIPrep")
    describe(bids / "derivatives" / "fmriprep", "fMRIPrep")
    assert find_fmriprep(bids, {}) == bids


def test_the_only_folder_below_derivatives_is_taken(tmp_path):
    inside = describe(tmp_path / "derivatives" / "fmriprep-24.1.1", "fMRIPrep")
    assert find_fmriprep(tmp_path, {}) == inside


@pytest.mark.parametrize("given", ["", "out", "named"])
def test_the_fmriprep_subfolder_of_an_older_version_is_entered(tmp_path, given):
    out = tmp_path / ("derivatives/fmriprep-1.5" if given == "" else "out")
    legacy = describe(out / "fmriprep", "fMRIPrep")
    (legacy / "sub-01").mkdir()
    bids_dir = out if given == "out" else tmp_path
    assert find_fmriprep(bids_dir, {"fmriprep": out} if given == "named" else {}) == legacy


def test_several_folders_below_derivatives_need_a_choice(tmp_path):
    describe(tmp_path / "derivatives" / "fmriprep-20", "fMRIPrep")
    describe(tmp_path / "derivatives" / "fmriprep-24", "fMRIPrep")
    with pytest.raises(UsageError, match=r"fmriprep-20.*fmriprep-24.*--derivatives"):
        find_fmriprep(tmp_path, {})


@pytest.mark.parametrize("named", [False, True])
def test_the_parent_given_by_mistake_names_the_right_folder(tmp_path, named):
    right = describe(tmp_path / "prep", "fMRIPrep")
    with pytest.raises(UsageError, match=f"Did you mean {right}"):
        find_fmriprep(tmp_path, {"fmriprep": tmp_path} if named else {})


def test_a_folder_that_is_not_there_is_wrong_use(tmp_path):
    with pytest.raises(UsageError, match="Folder not found"):
        find_fmriprep(tmp_path / "absent", {})


@pytest.mark.parametrize("maker", ["fMRIPrep", 24.1, ["fMRIPrep"], {"Name": "fMRIPrep"}, None])
def test_a_description_of_another_shape_names_no_maker(tmp_path, maker):
    (tmp_path / "dataset_description.json").write_text(json.dumps({"GeneratedBy": maker}))
    with pytest.raises(UsageError, match="--derivatives fmriprep=PATH"):
        find_fmriprep(tmp_path, {})


def test_folder_names_above_the_dataset_do_not_matter(fmriprep, tmp_path):
    root = fmriprep(*run_files("sub-01/func/sub-01_task-rest"))
    moved = tmp_path / ".hidden" / "code" / "sub-09" / "figures" / "prep"
    moved.parent.mkdir(parents=True)
    root.rename(moved)
    runs, _ = find(moved, participants=["01"])
    assert len(runs) == 1


def test_an_image_of_another_cohort_is_in_another_space(fmriprep):
    stem, grid = "sub-01/func/sub-01_task-rest", "space-MNIInfant_cohort-{}"
    root = fmriprep(*run_files(stem, grid.format(5)))
    runs, (exclusion,) = find(root, spaces=["MNIInfant:cohort-2"])
    assert runs == []
    assert "no desc-preproc BOLD in MNIInfant:cohort-2" in exclusion.reason
    assert "only in MNIInfant:cohort-5" in exclusion.reason
    fmriprep(*run_files(stem, grid.format(2)))
    (run,), _ = find(root, spaces=["MNIInfant:cohort-2"])
    assert run.space == "MNIInfant:cohort-2"
    assert "cohort-2" in run.bold.name
    assert "cohort-2" in run.mask.name
    assert find(root, spaces=["MNIInfant"])[0] == []
