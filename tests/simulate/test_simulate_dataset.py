"""The dataset is valid, complete and the same for the same seed."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fmmtc_bidsapp.bidsio.atlases.atlas import resolve_atlas
from fmmtc_bidsapp.errors import MissingResourceError, UsageError
from fmmtc_bidsapp.records import Atlas
from fmmtc_bidsapp.simulate.dataset import (
    derivatives_dir,
    is_finished,
    recipe,
    truth_dir,
    write_dataset,
)
from fmmtc_bidsapp.simulate.options import SimulationOptions
from fmmtc_bidsapp.simulate.truth import GroundTruth
from fmmtc_bidsapp.tools import simulate as tool

STUDY = SimulationOptions(people=6, controls=2, volumes=40, effects=("level", "coupling"))

Written = tuple[Path, GroundTruth]


@pytest.fixture(scope="module")
def written(block_atlas: Atlas, tmp_path_factory: pytest.TempPathFactory) -> Written:
    out = tmp_path_factory.mktemp("simulated") / "study"
    return out, write_dataset(out, STUDY, block_atlas, voxel_size_mm=12)


def digests(out: Path) -> dict[str, str]:
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return {
        path.relative_to(out).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files
    }


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_the_same_seed_gives_the_same_bytes(
    written: Written, block_atlas: Atlas, tmp_path: Path
) -> None:
    out, _ = written
    write_dataset(tmp_path / "again", STUDY, block_atlas, voxel_size_mm=12)
    assert digests(tmp_path / "again") == digests(out)


def test_another_seed_gives_other_images(
    written: Written, block_atlas: Atlas, tmp_path: Path
) -> None:
    out, _ = written
    write_dataset(tmp_path / "other", replace(STUDY, seed=1), block_atlas, voxel_size_mm=12)
    first, other = digests(out), digests(tmp_path / "other")
    assert first.keys() == other.keys()
    bolds = [name for name in first if name.endswith("desc-preproc_bold.nii.gz")]
    assert len(bolds) == 6
    assert all(first[name] != other[name] for name in bolds)


@pytest.mark.parametrize("root", [lambda out: out, derivatives_dir])
def test_the_validator_finds_no_error(written: Written, root: Callable[[Path], Path]) -> None:
    validator = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent))
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    command = [validator, str(root(written[0])), "--format", "json", "--ignoreWarnings"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["issues"]["issues"] == []
    assert done.returncode == 0


def test_images_hold_the_planted_series(written: Written, block_atlas: Atlas) -> None:
    out, truth = written
    labels = np.asarray(nib.load(block_atlas.image).dataobj)
    for person, label in enumerate(truth.participant_ids):
        (bold,) = (derivatives_dir(out) / label / "func").glob("*_desc-preproc_bold.nii.gz")
        data = np.asarray(nib.load(bold).dataobj)
        means = np.stack([data[labels == value].mean(axis=0) for value in block_atlas.index], 1)
        np.testing.assert_allclose(means, truth.series[person], atol=0.5)


def test_the_truth_is_that_of_the_participants_table(written: Written) -> None:
    out, truth = written
    participants, known = rows(out / "participants.tsv"), rows(truth_dir(out) / "truth.tsv")
    assert [row["Response"] for row in participants] == [row["y"] for row in known]
    assert [row["y"] for row in known] == ["n/a" if y < 0 else str(y) for y in truth.y]
    stated = json.loads((truth_dir(out) / "truth.json").read_text())["Oracles"]
    assert {name for name, oracle in stated.items() if oracle["Planted"]} == {
        "oracle_level",
        "oracle_coupling",
    }
    for oracle in truth.oracles:
        assert stated[f"oracle_{oracle.name}"]["AUROC"] == pytest.approx(oracle.auroc, abs=1e-4)
        column = [float(row[f"oracle_{oracle.name}"]) for row in known]
        np.testing.assert_allclose(column, oracle.value, atol=1e-6)


def test_confounds_start_with_a_missing_displacement(written: Written) -> None:
    (tsv,) = (derivatives_dir(written[0]) / "sub-03" / "func").glob("*_timeseries.tsv")
    table = rows(tsv)
    assert len(table) == STUDY.volumes
    assert table[0]["framewise_displacement"] == "n/a"
    assert table[0]["trans_x_derivative1"] == "n/a"
    assert "n/a" not in table[1].values()


def test_the_atlas_beside_the_truth_is_the_one_that_was_painted(
    written: Written, block_atlas: Atlas
) -> None:
    assert resolve_atlas(str(truth_dir(written[0]))).digest == block_atlas.digest


def test_a424_keeps_its_files_and_is_recognised(shared: Path, tmp_path: Path) -> None:
    a424 = resolve_atlas(str(shared / "data" / "atlas" / "A424+2mm.nii.gz"))
    study = replace(STUDY, people=4, controls=0, volumes=20)
    write_dataset(tmp_path, study, a424, voxel_size_mm=8)
    copy = resolve_atlas(str(truth_dir(tmp_path) / "A424+2mm.nii.gz"))
    assert (copy.label, copy.digest) == ("A424", a424.digest)
    # One voxel of 2 mm cannot be on a grid of 8 mm; whoever reads the truth is told.
    stated = json.loads((truth_dir(tmp_path) / "truth.json").read_text())
    assert a424.names[404] in stated["ParcelsWithoutVoxels"]


def test_only_the_same_recipe_counts_as_finished(
    written: Written, block_atlas: Atlas, tmp_path: Path
) -> None:
    out, _ = written
    assert is_finished(out, recipe(STUDY, block_atlas, 12, "int16"))
    assert not is_finished(tmp_path, recipe(STUDY, block_atlas, 12, "int16"))
    with pytest.raises(UsageError, match=r"strength 1\.0 \(requested: 2\.0\)"):
        is_finished(out, recipe(replace(STUDY, strength=2.0), block_atlas, 12, "int16"))


def test_a_folder_with_something_else_is_left_alone(block_atlas: Atlas, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        is_finished(tmp_path, recipe(STUDY, block_atlas, 12, "int16"))


def test_the_tool_writes_once_and_then_leaves_the_dataset_alone(
    block_atlas: Atlas, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> int:
        return tool.simulate(
            tmp_path / "out", STUDY, atlas=str(block_atlas.image.parent), voxel_size_mm=12
        )

    assert run() == 0
    assert "sub-06 written" in capsys.readouterr().out
    before = digests(tmp_path / "out")
    assert run() == 0
    assert "nothing to do" in capsys.readouterr().out
    assert digests(tmp_path / "out") == before


def test_without_a424_the_tool_says_what_it_paints_instead(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def offline(atlas: str) -> Atlas:
        if atlas == "A424":
            raise MissingResourceError("no network")
        return resolve_atlas(atlas)

    monkeypatch.setattr(tool, "resolve_atlas", offline)
    study = replace(STUDY, people=4, controls=0, volumes=20)
    assert tool.simulate(tmp_path, study, voxel_size_mm=8) == 0
    printed = capsys.readouterr().out
    assert "NOTICE: no network" in printed
    assert "NOT A424" in printed
    assert resolve_atlas(str(truth_dir(tmp_path))).label == "DemoGM424"
    with pytest.raises(MissingResourceError):
        tool.simulate(tmp_path / "real", study, atlas="A424")
