"""Every tree of real fMRIPrep outputs, 1.0 to 25.2, against what a person reads in its listing."""

import itertools
import os
import re
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fmmtc_bidsapp.bidsio.find import find_bold_runs, find_fmriprep

N6, N9 = "MNI152NLin6Asym", "MNI152NLin2009cAsym"
UNFETCHED = "image not fetched: run `datalad get "
ONLY_N9 = f"no desc-preproc BOLD in {N6}, only in {N9}: "
NOWHERE = "nor in any other space"


@dataclass(frozen=True)
class Expected:
    """What stands in a listing; ``{a,b}`` in a name stands for both."""

    listing: str
    runs: tuple[str, ...]
    in_n9: str | None
    """Why the runs cannot be used in MNI152NLin2009cAsym, None where they can."""
    in_n6: str | None
    absent: frozenset[str] = frozenset()


TREES = (
    Expected(
        "ds000001-fmriprep_bids-examples.txt",
        ("sub-{10,11,13,16}_task-balloonanalogrisktask_run-{1,2,3}",),
        None,
        ONLY_N9,
    ),
    Expected(
        "ds000208_21.0.2.txt",
        ("sub-{01,02,24,59,70}_task-rest",),
        UNFETCHED,
        f"only in {N9}, T1w, native: ",
    ),
    Expected(
        "ds001734_NARPS_1.1.4.txt",
        ("sub-{001,002}_task-MGT_run-{01,02,03,04}",),
        UNFETCHED,
        ONLY_N9,
        # Of this one the listing has only what an interrupted copy left.
        frozenset({"sub-011"}),
    ),
    Expected(
        "ds003745_21.0.2.txt",
        (
            "sub-{104,105}_task-{sharedreward,ultimatum}_run-{1,2}",
            "sub-{104,105}_task-trust_run-{1,2,3,4,5}",
        ),
        UNFETCHED,
        ONLY_N9,
    ),
    Expected(
        "ds005625_24.1.1_plus_fmripost-aroma.txt",
        ("sub-042_task-restingstate",),
        UNFETCHED,
        UNFETCHED,
    ),
    Expected(
        "ds005699_24.1.1_res-02.txt",
        ("sub-{001,004,037,042}_task-restingstate",),
        UNFETCHED,
        UNFETCHED,
    ),
    Expected(
        "ds005_truncated_1.0.x.txt",
        ("sub-01_task-mixedgamblestask_run-{01,02}",),
        None,
        ONLY_N9,
    ),
    Expected(
        "fmriprep-ci_20.2.8_ds210_outputs.txt",
        ("sub-02_task-cuedSGT_run-1",),
        None,
        ONLY_N9,
    ),
    Expected(
        "fmriprep-ci_21.0.4_ds005_legacy_outputs.txt",
        ("sub-01_task-mixedgamblestask_run-{1,2}",),
        NOWHERE,
        NOWHERE,
    ),
    Expected(
        "fmriprep-ci_23.2.3_ds005_outputs.txt",
        ("sub-01_task-mixedgamblestask_run-{01,02}",),
        NOWHERE,
        NOWHERE,
    ),
    Expected(
        "fmriprep-ci_24.1.1_ds210_outputs.txt",
        ("sub-02_task-cuedSGT_run-01",),
        None,
        ONLY_N9,
    ),
    Expected(
        "fmriprep-ci_25.2.5_ds005_outputs.txt",
        ("sub-01_task-mixedgamblestask_run-{01,02}",),
        NOWHERE,
        NOWHERE,
    ),
    Expected(
        "physiopy_20.2.3_cifti_sessions.txt",
        (
            "sub-03_ses-001_task-bourne{01,02,03,04,05}",
            "sub-03_ses-007_task-figures{01,02,03,04,05,06}_run-1",
            "sub-03_ses-067_task-s05e23{a,b,c,d}",
        ),
        UNFETCHED,
        f"only in {N9}, T1w: ",
    ),
    Expected(
        "synthetic_bids-examples.txt",
        (
            "sub-{01,02,03,04,05}_ses-{01,02}_task-nback_run-{01,02}",
            "sub-{01,02,03,04,05}_ses-{01,02}_task-rest",
        ),
        None,
        f"only in {N9}, T1w: ",
    ),
)


def expand(pattern):
    parts = [part.split(",") for part in re.split(r"[{}]", pattern)]
    return {"".join(choice) for choice in itertools.product(*parts)}


def build(listing, root):
    """Make the files of a listing: links into an annex dangle, JSONs are empty objects."""
    lines = [line for line in listing.read_text().splitlines() if line and line[0] != "#"]
    folders = {str(folder) for line in lines for folder in Path(line).parents}
    for line in lines:
        path = root / line.removesuffix(" @")
        path.parent.mkdir(parents=True, exist_ok=True)
        if line.endswith(" @"):
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


@pytest.mark.parametrize("space", [N6, N9])
@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.listing)
def test_the_runs_of_a_real_tree_are_found_or_the_reason_is_told(shared, tmp_path, tree, space):
    top = build(shared / "data" / "trees" / tree.listing, tmp_path)
    is_raw = (top / "derivatives").is_dir()
    root = find_fmriprep(top, {} if is_raw else {"fmriprep": top})
    found, exclusions = find_bold_runs(
        root, space=space, participants=(), sessions=(), tasks=(), runs=()
    )
    names = set().union(*map(expand, tree.runs))
    reason = tree.in_n9 if space == N9 else tree.in_n6
    left_out = [each for each in exclusions if each.stage != "absent"]
    assert [run_id(run.entities) for run in found] == sorted(names if reason is None else ())
    assert sorted(map(excluded_id, left_out)) == sorted(names if reason else ())
    assert all(reason in each.reason for each in left_out)
    assert all(f"space-{space}" in each.reason for each in left_out if reason is UNFETCHED)
    assert {each.participant_id for each in exclusions if each not in left_out} == tree.absent
    for run in found:
        own = (run.bold, run.mask, run.confounds)
        assert all(path.name.startswith(f"{run_id(run.entities)}_") for path in own)
        assert space in run.bold.name
        assert space in run.mask.name


def test_every_tree_of_the_shared_data_is_in_the_table(shared):
    listings = {path.name for path in (shared / "data" / "trees").glob("*.txt")}
    assert listings == {tree.listing for tree in TREES}


def write_tiny_atlas(folder):
    image = folder / f"atlas-Tiny_space-{N9}_dseg.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3), dtype=np.int16), np.eye(4)), image)
    image.with_name(f"atlas-Tiny_space-{N9}_dseg.tsv").write_text("index\tname\n1\tone\n")
    return image


def run_unfetched(shared, folder, *flags):
    """Run the participant level on the clone; returns its result, its table and its duration."""
    with tarfile.open(shared / "data" / "ds000208-skeleton.tar.gz") as tar:
        tar.extractall(folder, filter="tar")
    prep = next(folder.glob("**/ds000208-fmriprep"))
    command = [sys.executable, "-m", "fmmtc_bidsapp", folder / "ds000208", folder / "out"]
    command += ["participant", "--derivatives", f"fmriprep={prep}", "-w", folder / "work", *flags]
    environment = {**os.environ, "FMMTC_ATLAS_DIR": str(shared / "data" / "atlas")}
    environment |= {"COLUMNS": "400"}
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return done, time.monotonic() - began


EVERYONE = {f"sub-{number:02}" for number in range(1, 77)}


def test_a_clone_without_images_lists_76_people_and_how_to_fetch_them(shared, tmp_path):
    done, duration_s = run_unfetched(shared, tmp_path, "--atlas", write_tiny_atlas(tmp_path))
    assert done.returncode == 65, done.stderr
    text = done.stdout + done.stderr
    told = re.findall(r"image not fetched: run `datalad get \S*/(sub-\d+)/func/", text)
    assert (len(told), set(told)) == (76, EVERYONE)
    assert duration_s < 20


def test_a_clone_without_the_space_of_a424_lists_76_people_too(shared, tmp_path):
    done, duration_s = run_unfetched(shared, tmp_path)
    assert done.returncode == 65, done.stderr
    assert set(re.findall(r"\bsub-\d+\b", done.stdout)) == EVERYONE
    assert duration_s < 20
