"""Every tree of real fMRIPrep outputs, 1.0 to 25.2, against what a person reads in its listing."""

import itertools
import os
import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fmmtc_bidsapp.bidsio.layout.find_fmriprep import find_fmriprep
from fmmtc_bidsapp.bidsio.layout.find_runs import find_bold_runs
from fmmtc_bidsapp.bidsio.layout.query import Query

N6, N9 = "MNI152NLin6Asym", "MNI152NLin2009cAsym"
UNFETCHED = "image not fetched: run `datalad get "
ONLY_N9 = f"no desc-preproc BOLD in {N6}, only in {N9}: "
NO_CIFTI = "no CIFTI of fsLR 91k, "
NOWHERE = "nor in any other space"


@dataclass(frozen=True)
class Expected:
    """What stands in a listing; ``{a,b}`` in a name stands for both."""

    listing: str
    runs: tuple[str, ...]
    in_n9: str | None
    """Why the runs cannot be used in MNI152NLin2009cAsym, None where they can."""
    in_n6: str | None
    preferred: str | None
    """Of MNI152NLin6Asym and MNI152NLin2009cAsym the first that the runs have."""
    in_cifti: str
    has_boldref: bool = True
    has_anat_mask: bool = True
    """Whether the preferred space has the anatomical image's too."""
    absent: frozenset[str] = frozenset()

    def reason(self, spaces, file_format):
        if file_format == "cifti":
            return self.in_cifti
        return {N6: self.in_n6, N9: self.in_n9, None: NOWHERE}[
            spaces[0] if len(spaces) == 1 else self.preferred
        ]

    @property
    def names(self):
        return set().union(*map(expand, self.runs))

    @property
    def has_cifti(self):
        return self.in_cifti == UNFETCHED


TREES = (
    Expected(
        "ds000001-fmriprep_bids-examples.txt",
        ("sub-{10,11,13,16}_task-balloonanalogrisktask_run-{1,2,3}",),
        None,
        ONLY_N9,
        N9,
        f"{NO_CIFTI}only in {N9}: ",
    ),
    Expected(
        "ds000208_21.0.2.txt",
        ("sub-{01,02,24,59,70}_task-rest",),
        UNFETCHED,
        f"only in {N9}, T1w, native, CIFTI of fsLR 91k: ",
        N9,
        UNFETCHED,
    ),
    Expected(
        "ds001734_NARPS_1.1.4.txt",
        ("sub-{001,002}_task-MGT_run-{01,02,03,04}",),
        UNFETCHED,
        ONLY_N9,
        N9,
        f"{NO_CIFTI}only in {N9}: ",
        # fMRIPrep wrote none in those days.
        has_boldref=False,
        # Of this one the listing has only what an interrupted copy left.
        absent=frozenset({"sub-011"}),
    ),
    Expected(
        "ds003745_21.0.2.txt",
        (
            "sub-{104,105}_task-{sharedreward,ultimatum}_run-{1,2}",
            "sub-{104,105}_task-trust_run-{1,2,3,4,5}",
        ),
        UNFETCHED,
        f"only in {N9}, CIFTI of fsLR 91k: ",
        N9,
        UNFETCHED,
    ),
    Expected(
        "ds005625_24.1.1_plus_fmripost-aroma.txt",
        ("sub-042_task-restingstate",),
        UNFETCHED,
        UNFETCHED,
        N6,
        f"{NO_CIFTI}only in {N9}, {N6}: ",
    ),
    Expected(
        "ds005699_24.1.1_res-02.txt",
        ("sub-{001,004,037,042}_task-restingstate",),
        UNFETCHED,
        UNFETCHED,
        N6,
        f"{NO_CIFTI}only in {N9}, {N6}: ",
    ),
    Expected(
        "ds005_truncated_1.0.x.txt",
        ("sub-01_task-mixedgamblestask_run-{01,02}",),
        None,
        ONLY_N9,
        N9,
        f"{NO_CIFTI}only in {N9}: ",
        has_boldref=False,
    ),
    Expected(
        "fmriprep-ci_20.2.8_ds210_outputs.txt",
        ("sub-02_task-cuedSGT_run-1",),
        None,
        ONLY_N9,
        N9,
        f"{NO_CIFTI}only in {N9}: ",
    ),
    Expected(
        "fmriprep-ci_21.0.4_ds005_legacy_outputs.txt",
        ("sub-01_task-mixedgamblestask_run-{1,2}",),
        NOWHERE,
        NOWHERE,
        None,
        f"{NO_CIFTI}{NOWHERE}: ",
    ),
    Expected(
        "fmriprep-ci_23.2.3_ds005_outputs.txt",
        ("sub-01_task-mixedgamblestask_run-{01,02}",),
        NOWHERE,
        NOWHERE,
        None,
        f"{NO_CIFTI}{NOWHERE}: ",
    ),
    Expected(
        "fmriprep-ci_24.1.1_ds210_outputs.txt",
        ("sub-02_task-cuedSGT_run-01",),
        None,
        ONLY_N9,
        N9,
        f"{NO_CIFTI}only in {N9}: ",
    ),
    Expected(
        "fmriprep-ci_25.2.5_ds005_outputs.txt",
        ("sub-01_task-mixedgamblestask_run-{01,02}",),
        NOWHERE,
        NOWHERE,
        None,
        f"{NO_CIFTI}{NOWHERE}: ",
    ),
    Expected(
        "physiopy_20.2.3_cifti_sessions.txt",
        (
            "sub-03_ses-001_task-bourne{01,02,03,04,05}",
            "sub-03_ses-007_task-figures{01,02,03,04,05,06}_run-1",
            "sub-03_ses-067_task-s05e23{a,b,c,d}",
        ),
        UNFETCHED,
        f"only in {N9}, T1w, CIFTI of fsLR 91k: ",
        N9,
        UNFETCHED,
        # The listing has the functional files only.
        has_anat_mask=False,
    ),
    Expected(
        "synthetic_bids-examples.txt",
        (
            "sub-{01,02,03,04,05}_ses-{01,02}_task-nback_run-{01,02}",
            "sub-{01,02,03,04,05}_ses-{01,02}_task-rest",
        ),
        None,
        f"only in {N9}, T1w: ",
        N9,
        f"{NO_CIFTI}only in {N9}, T1w: ",
        has_boldref=False,
        has_anat_mask=False,
    ),
)


def expand(pattern):
    parts = [part.split(",") for part in re.split(r"[{}]", pattern)]
    return {"".join(choice) for choice in itertools.product(*parts)}


def build(listing, root, *, fetched=False):
    """Make the files of a listing: links into an annex dangle, JSONs are empty objects."""
    lines = [line for line in listing.read_text().splitlines() if line and line[0] != "#"]
    folders = {str(folder) for line in lines for folder in Path(line).parents}
    for line in lines:
        path = root / line.removesuffix(" @")
        path.parent.mkdir(parents=True, exist_ok=True)
        if line.endswith(" @") and not fetched:
            path.symlink_to("/nowhere/.git/annex/objects/MD5E-s9--0")
        elif line not in folders:
            path.write_text("{}" if path.suffix == ".json" else "content")
        else:
            path.mkdir(exist_ok=True)
    return root


def run_id(entities):
    return "_".join(f"{key}-{value}" for key, value in entities.items())


def excluded_id(exclusion):
    identity = filter(None, (exclusion.participant_id, exclusion.session_id))
    return "_".join([*identity, exclusion.reason.partition(":")[0]])


def find_in(shared, folder, tree, spaces, file_format, *, fetched=False):
    top = build(shared / "data" / "trees" / tree.listing, folder, fetched=fetched)
    is_raw = (top / "derivatives").is_dir()
    root = find_fmriprep(top, {} if is_raw else {"fmriprep": top})
    aroma_dir = top / "fmripost-aroma"
    runs, exclusions, strays = find_bold_runs(
        root,
        Query(),
        spaces=spaces,
        file_format=file_format,
        aroma_dir=aroma_dir if aroma_dir.is_dir() else None,
    )
    # Every name that fMRIPrep ever wrote can be read.
    assert strays == []
    return runs, exclusions


CHOICES = [((N6,), "nifti"), ((N9,), "nifti"), ((N6, N9), "nifti"), ((N6, N9), "cifti")]


@pytest.mark.parametrize(("spaces", "file_format"), CHOICES)
@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.listing)
def test_the_runs_of_a_real_tree_are_found_or_the_reason_is_told(
    shared, tmp_path, tree, spaces, file_format
):
    found, exclusions = find_in(shared, tmp_path, tree, spaces, file_format)
    reason = tree.reason(spaces, file_format)
    left_out = [each for each in exclusions if each.stage != "absent"]
    assert [run_id(run.entities) for run in found] == sorted(tree.names if reason is None else ())
    assert sorted(map(excluded_id, left_out)) == sorted(tree.names if reason else ())
    assert all(reason in each.reason for each in left_out)
    place = tree.preferred if len(spaces) == 2 else spaces[0]
    place = "fsLR_den-91k" if file_format == "cifti" else place
    assert all(f"_space-{place}_" in each.reason for each in left_out if reason is UNFETCHED)
    assert {each.participant_id for each in exclusions if each not in left_out} == tree.absent


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.listing)
def test_by_default_a_run_has_its_image_in_either_space_or_the_reason_names_both(
    shared, tmp_path, tree
):
    found, exclusions = find_in(shared, tmp_path, tree, (N6, N9), "auto")
    left_out = [each for each in exclusions if each.stage != "absent"]
    reason = tree.reason((N6, N9), "nifti")
    assert sorted(run_id(run.entities) for run in found) == sorted(() if reason else tree.names)
    assert sorted(map(excluded_id, left_out)) == sorted(tree.names if reason else ())
    both = f"no desc-preproc BOLD in {N6} or {N9}, nor CIFTI of fsLR 91k, {NOWHERE}: "
    assert all((both if reason is NOWHERE else reason) in each.reason for each in left_out)


@pytest.mark.parametrize("file_format", ["auto", "cifti"])
@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.listing)
def test_a_real_tree_with_everything_fetched_gives_each_run_its_own_files(
    shared, tmp_path, tree, file_format
):
    found, _ = find_in(shared, tmp_path, tree, (N6, N9), file_format, fetched=True)
    is_there = tree.has_cifti if file_format == "cifti" else tree.preferred is not None
    assert [run_id(run.entities) for run in found] == sorted(tree.names if is_there else ())
    for run in found:
        own = [run.bold, run.confounds, run.mask, run.boldref, run.aroma]
        name = run_id(run.entities)
        assert all(path.name.startswith(f"{name}_") for path in own if path is not None)
        if file_format == "cifti":
            assert (run.space, run.den, run.mask, run.boldref) == ("fsLR", "91k", None, None)
            assert run.anat_mask is None
            assert run.bold.name == f"{name}_space-fsLR_den-91k_bold.dtseries.nii"
            continue
        assert (run.space, run.den, run.file_format) == (tree.preferred, None, "nifti")
        grid = f"_space-{run.space}_" + (f"res-{run.res}_" if run.res else "")
        assert all(grid in path.name for path in (run.bold, run.mask))
        assert "AROMA" not in run.bold.name
        assert (run.boldref is not None) == tree.has_boldref
        assert run.boldref is None or run.boldref.name == f"{name}{grid}boldref.nii.gz"
        assert (run.aroma is not None) == ("aroma" in tree.listing)
        assert (run.anat_mask is not None) == tree.has_anat_mask
        if run.anat_mask is not None:
            assert run.anat_mask.parent == run.bold.parents[1] / "anat"
            assert re.match(
                rf"{run.participant_id}(_T1w)?_space-{run.space}_.*mask", run.anat_mask.name
            )


def test_without_an_image_in_the_wanted_space_cifti_is_taken(shared, tmp_path):
    (tree,) = (each for each in TREES if each.listing.startswith("ds003745"))
    found, exclusions = find_in(shared, tmp_path, tree, (N6,), "auto", fetched=True)
    assert exclusions == []
    assert {(run.file_format, run.space) for run in found} == {("cifti", "fsLR")}
    assert {run_id(run.entities) for run in found} == tree.names


def test_every_tree_of_the_shared_data_is_in_the_table(shared):
    listings = {path.name for path in (shared / "data" / "trees").glob("*.txt")}
    assert listings == {tree.listing for tree in TREES}


def write_tiny_atlas(folder):
    image = folder / f"atlas-Tiny_space-{N9}_dseg.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3), dtype=np.int16), np.eye(4)), image)
    image.with_name(f"atlas-Tiny_space-{N9}_dseg.tsv").write_text("index\tname\n1\tone\n")
    return image


def run_unfetched(shared, folder, *flags):
    """Run the participant level on the clone; returns its result."""
    with tarfile.open(shared / "data" / "ds000208-skeleton.tar.gz") as tar:
        tar.extractall(folder, filter="tar")
    prep = next(folder.glob("**/ds000208-fmriprep"))
    command = [sys.executable, "-m", "fmmtc_bidsapp", folder / "ds000208", folder / "out"]
    command += ["participant", "--derivatives", f"fmriprep={prep}", "-w", folder / "work", *flags]
    environment = {**os.environ, "FMMTC_ATLAS_DIR": str(shared / "data" / "atlas")}
    environment |= {"COLUMNS": "400"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


EVERYONE = {f"sub-{number:02}" for number in range(1, 77)}


@pytest.mark.slow
def test_a_clone_without_images_lists_76_people_and_how_to_fetch_them(shared, tmp_path):
    done = run_unfetched(shared, tmp_path, "--atlas", write_tiny_atlas(tmp_path))
    assert done.returncode == 65, done.stderr
    text = done.stdout + done.stderr
    told = re.findall(r"image not fetched: run `datalad get \S*/(sub-\d+)/func/", text)
    assert (len(told), set(told)) == (76, EVERYONE)


@pytest.mark.slow
@pytest.mark.slow
def test_a_clone_without_the_space_of_a424_lists_76_people_too(shared, tmp_path):
    done = run_unfetched(shared, tmp_path)
    assert done.returncode == 65, done.stderr
    text = done.stdout + done.stderr
    told = re.findall(r"image not fetched: run `datalad get \S*/(sub-\d+)/func/", text)
    assert (len(told), set(told)) == (76, EVERYONE)
    assert not (tmp_path / "out").exists()
