"""The quality of a whole dataset, from its files."""

from __future__ import annotations

import json
import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fmmtc_bidsapp.bidsio.files.atomic import write_json
from fmmtc_bidsapp.bidsio.files.names import RunFiles, atlas_files
from fmmtc_bidsapp.bidsio.files.tsv import write_tsv
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.group.run import run_group
from fmmtc_bidsapp.group.tasks.quality import write_quality
from fmmtc_bidsapp.plan import GroupPlan, Resources
from fmmtc_bidsapp.records import RunQuality

N_PEOPLE, N_PARCELS = 24, 16
PARCELS = tuple(f"P{i:02d}" for i in range(N_PARCELS))
FD_MM = np.linspace(0.05, 0.5, N_PEOPLE)
XYZ_MM = np.random.default_rng(0).uniform(-60, 60, (N_PARCELS, 3))
DISTANCE_MM = np.linalg.norm(XYZ_MM[:, None] - XYZ_MM[None], axis=2)

COUNTS = {"n_volumes": 200, "num_retained_volumes": 180, "usable": True, "reasons": "n/a"}


def row(**known: Any) -> dict[str, list[Any]]:
    """Fill what a quality table must have and a test does not care for."""
    blank = {"int": 0, "float | None": None, "str": "n/a"}
    values = {each.name: blank.get(str(each.type)) for each in fields(RunQuality)}
    return {name: [value] for name, value in (values | COUNTS | known).items()}


def add_run(root: Path, matrix: np.ndarray, entities: dict[str, str], **known: Any) -> RunFiles:
    desc = known.pop("desc", "simple")
    files = RunFiles(root, entities, "MNI152NLin6Asym", "Test", desc, "02")
    write_tsv(files.relmat, {"Node": PARCELS, **dict(zip(PARCELS, matrix.T, strict=True))})
    write_tsv(files.qc, row(**known))
    return files


def connectome(rng: np.random.Generator, shift: float) -> np.ndarray:
    """Draw a matrix whose short connections rise with a shift (of z)."""
    z = rng.normal(0.3, 0.1, (N_PARCELS, N_PARCELS))
    z = (z + z.T) / 2 + shift * np.exp(-DISTANCE_MM / 30)
    np.fill_diagonal(z, np.inf)
    return np.tanh(z)


def add_atlas(root: Path) -> None:
    table = atlas_files(root, "MNI152NLin6Asym", "Test", "02")[1]
    order = np.arange(N_PARCELS)[::-1]
    columns = dict(zip("xyz", XYZ_MM[order].T, strict=True))
    names = [PARCELS[i] for i in order]
    write_tsv(table, {"index": list(range(N_PARCELS)), "name": names, **columns})


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Make 24 people whose motion raises short connections under one cleaning, not the other."""
    rng = np.random.default_rng(8)
    root = tmp_path / "out"
    for number, fd_mm in enumerate(FD_MM):
        entities = {"sub": f"{number:02d}", "task": "rest"}
        for desc, strength in (("none", 3.0), ("simple", 0.0)):
            add_run(
                root, connectome(rng, strength * fd_mm), entities, desc=desc, mean_fd=float(fd_mm)
            )
    add_atlas(root)
    return root


def table(root: Path, name: str) -> pd.DataFrame:
    path = root / "group" / f"group_{name}.tsv"
    about = json.loads(path.with_suffix(".json").read_text())
    found = pd.read_csv(path, sep="\t", na_values="n/a", keep_default_na=False)
    assert list(about) == list(found)
    return found


def test_motion_shows_under_the_cleaning_that_leaves_it(dataset: Path) -> None:
    summary = write_quality(dataset)
    found = table(dataset, "qcfc")
    assert len(table(dataset, "qc")) == 2 * N_PEOPLE
    assert found["bin"].tolist() == 2 * ["all", *map(str, range(1, 11))]
    whole = found[found["bin"] == "all"].set_index("desc")
    assert (whole["n_participants"] == N_PEOPLE).all()
    assert (whole["n_edges"] == N_PARCELS * (N_PARCELS - 1) // 2).all()
    assert (whole["measure"] == "correlation").all()
    assert whole["distance_high_mm"].to_numpy() == pytest.approx(DISTANCE_MM.max())
    assert whole.loc["none", "distance_spearman"] < -0.5
    assert abs(whole.loc["simple", "distance_spearman"]) < 0.3
    chance = whole.loc["simple", "chance_median_abs_r"]
    assert whole.loc["simple", "median_abs_r"] == pytest.approx(chance, rel=0.35)
    assert whole.loc["none", "median_abs_r"] > 1.5 * chance
    near = found[(found["desc"] == "none") & (found["bin"] == "1")]
    assert near["share_q_below_05"].item() > 0.9
    assert summary == (
        f"Quality of 24 runs: none 24 of 24 usable; simple 24 of 24 usable; "
        f"median |QC-FC| none {whole.loc['none', 'median_abs_r']:.2f} ({chance:.2f} by chance); "
        f"median |QC-FC| simple {whole.loc['simple', 'median_abs_r']:.2f} ({chance:.2f} by chance)"
    )


def test_runs_of_a_person_are_one_example_and_unusable_ones_none(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    once, twice = tmp_path / "once", tmp_path / "twice"
    for number, fd_mm in enumerate(FD_MM):
        matrix = connectome(rng, float(fd_mm))
        entities = {"sub": f"{number:02d}", "task": "rest"}
        add_run(once, matrix, entities, mean_fd=float(fd_mm))
        # Two runs whose weighted mean is the single one, and one that must not count.
        z = np.arctanh(np.where(np.eye(N_PARCELS) == 1, 0, matrix))
        for run, step, volumes in (("1", 0.1, 50), ("2", -0.05, 100)):
            files = add_run(
                twice,
                np.tanh(z + step) + np.eye(N_PARCELS),
                {**entities, "run": run},
                n_volumes=volumes,
                num_retained_volumes=volumes,
                mean_fd=float(fd_mm) + step / 10,
            )
        bad = {**entities, "run": "3"}
        add_run(twice, np.eye(N_PARCELS), bad, mean_fd=9.0, usable=False)
        # Over all runs of the task: it is no run and must not count either.
        combined = files.combined().relmat
        combined.write_text(files.relmat.read_text())
    write_quality(once)
    summary = write_quality(twice)
    assert "simple 48 of 72 usable" in summary
    pd.testing.assert_frame_equal(table(once, "qcfc"), table(twice, "qcfc"))


def test_a_quality_table_over_several_runs_that_are_there_is_no_row(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for number, fd_mm in enumerate(FD_MM[:3]):
        entities = {"sub": f"{number:02d}", "task": "rest"}
        for run in ("1", "2"):
            add_run(tmp_path, connectome(rng, fd_mm), {**entities, "run": run}, mean_fd=fd_mm)
        add_run(tmp_path, connectome(rng, fd_mm), entities, mean_fd=9.0)
    summary = write_quality(tmp_path)
    assert "left out 3 tables that merge runs" in summary
    assert table(tmp_path, "qc")["run_id"].tolist() == ["run-1", "run-2"] * 3


def test_tasks_and_sessions_that_qc_fc_averages_within_people_are_noted(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for number, fd_mm in enumerate(FD_MM[:10]):
        for task in ("rest", "nback") if number < 4 else ("rest",):
            entities = {"sub": f"{number:02d}", "task": task}
            add_run(tmp_path, connectome(rng, float(fd_mm)), entities, mean_fd=float(fd_mm))
    write_quality(tmp_path)
    notes = set(table(tmp_path, "qcfc")["note"].dropna())
    assert notes == {"tasks nback, rest averaged within 4 people"}


def test_a_matrix_of_fishers_z_counts_as_the_coefficients_it_stands_for(dataset: Path) -> None:
    write_quality(dataset)
    expected = table(dataset, "qcfc")
    for path in dataset.glob("sub-*/func/*_relmat.tsv"):
        matrix = pd.read_csv(path, sep="\t", index_col="Node").to_numpy(copy=True)
        np.fill_diagonal(matrix, np.nan)
        z = dict(zip(PARCELS, np.arctanh(matrix).T, strict=True))
        write_tsv(path, {"Node": PARCELS, **z})
        write_json(path.with_suffix(".json"), {"FisherZ": True})
    write_quality(dataset)
    pd.testing.assert_frame_equal(table(dataset, "qcfc"), expected)


def test_an_atlas_without_coordinates_gives_one_row_a_cleaning(dataset: Path) -> None:
    atlas_files(dataset, "MNI152NLin6Asym", "Test", "02")[1].unlink()
    write_quality(dataset)
    found = table(dataset, "qcfc")
    assert found["bin"].tolist() == ["all", "all"]
    assert found[["distance_low_mm", "distance_spearman"]].isna().all().all()
    assert found["median_abs_r"].notna().all()


def test_too_few_people_are_told_and_not_computed(dataset: Path) -> None:
    for path in sorted(dataset.glob("sub-*/func/*desc-simple_qc.tsv"))[9:]:
        path.unlink()
    summary = write_quality(dataset)
    whole = table(dataset, "qcfc").set_index("desc").loc["simple"]
    assert whole["n_participants"] == 9
    assert np.isnan(whole["median_abs_r"])
    assert whole["note"] == "9 people have a matrix and known motion, 10 are needed"
    assert "median |QC-FC| simple not computed (9 people" in summary


def test_runs_that_cannot_take_part_are_counted(dataset: Path) -> None:
    tables = sorted(dataset.glob("sub-*/func/*desc-simple_qc.tsv"))
    write_tsv(tables[0], row(mean_fd=None))
    next(dataset.glob("sub-23/func/*desc-simple_relmat.tsv")).unlink()
    write_quality(dataset)
    found = table(dataset, "qcfc")
    whole = found[(found["desc"] == "simple") & (found["bin"] == "all")]
    assert whole["n_participants"].item() == N_PEOPLE - 2
    assert whole["note"].item() == (
        "usable runs left out without a matrix: 1; usable runs left out of unknown head motion: 1"
    )


def test_matrices_of_other_parcels_under_one_label_are_refused(dataset: Path) -> None:
    path = next(dataset.glob("sub-07/func/*desc-simple_relmat.tsv"))
    path.write_text(path.read_text().replace("P03", "Q03"))
    with pytest.raises(InputError, match="other parcels") as caught:
        write_quality(dataset)
    assert path.name in str(caught.value)


def group_plan(root: Path, work: Path, **changes: Any) -> GroupPlan:
    plan = GroupPlan(
        bids_dir=root.parent / "bids",
        output_dir=root,
        run_id="r1",
        resources=Resources(work),
        analysis="qc",
        label="fmmtc",
    )
    return replace(plan, **changes)


def test_the_analysis_of_quality_needs_no_target(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_group(group_plan(dataset, tmp_path / "work")) == 0
    printed = capsys.readouterr().out
    assert "Quality of 24 runs: none 24 of 24 usable" in printed
    assert "Predictions" not in printed
    assert len(table(dataset, "qc")) == 2 * N_PEOPLE
    assert (dataset / "group" / "log" / "r1" / "plan.toml").is_file()


def test_a_damaged_quality_table_fails_with_its_name(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = next(dataset.glob("sub-03/func/*desc-simple_qc.tsv"))
    path.write_text("n_volumes\nmany\n")
    assert run_group(group_plan(dataset, tmp_path / "work")) == 65
    assert path.name in capsys.readouterr().out


def test_series_of_another_program_have_no_quality_of_ours(dataset: Path, tmp_path: Path) -> None:
    other = tmp_path / "xcp"
    other.mkdir()
    plan = group_plan(dataset, tmp_path / "work", derivatives={"parcels": other})
    with pytest.raises(InputError, match="no quality table of a run"):
        run_group(plan)


def test_files_whose_names_say_no_run_stop_nobody_and_are_named(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    func = dataset / "sub-03" / "func"
    strays = [b"sub-03_task-\xff_qc.tsv", b"sub-03_task-rest_run001_desc-none_qc.tsv"]
    for name in strays:
        Path(os.fsdecode(os.fsencode(func) + b"/" + name)).write_text("a\n1\n")
    (func / "sub-03_relmat.tsv").write_text("a\n1\n")
    assert run_group(group_plan(dataset, tmp_path / "work")) == 0
    printed = capsys.readouterr().out
    assert "Quality of 24 runs: none 24 of 24 usable" in printed
    assert f"{func}/sub-03_task-\\xff_qc.tsv is ignored" in printed
    assert f"{func}/sub-03_task-rest_run001_desc-none_qc.tsv is ignored" in printed
