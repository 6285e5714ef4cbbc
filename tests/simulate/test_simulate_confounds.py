"""The confounds table holds together."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nilearn.glm.first_level.design_matrix import create_cosine_drift

from fmmtc_bidsapp.simulate.confounds import ConfoundsTable, simulate_confounds
from fmmtc_bidsapp.simulate.options import SimulationOptions

STUDY = SimulationOptions(volumes=200, mean_fd_mm=0.3)
MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")


@pytest.fixture(scope="module")
def series() -> np.ndarray:
    return np.random.default_rng(0).normal(1000, 10, (200, 30)).astype(np.float32)


@pytest.fixture(scope="module")
def table(series: np.ndarray) -> ConfoundsTable:
    return simulate_confounds(STUDY, series, person=2)


def test_framewise_displacement_is_powers_formula_over_the_motion_columns(
    table: ConfoundsTable,
) -> None:
    columns = table.columns
    fd_mm = [
        sum(abs(columns[name][t] - columns[name][t - 1]) for name in MOTION[:3])
        + 50 * sum(abs(columns[name][t] - columns[name][t - 1]) for name in MOTION[3:])
        for t in range(1, 200)
    ]
    np.testing.assert_allclose(columns["framewise_displacement"][1:], fd_mm, atol=1e-9)


def test_rmsd_is_jenkinsons_formula_over_the_motion_columns(table: ConfoundsTable) -> None:
    x, y, z, a, b, c = (np.diff(table.columns[name]) for name in MOTION)
    for t in (0, 57, 198):
        skew = np.array([[0, -c[t], b[t]], [c[t], 0, -a[t]], [-b[t], a[t], 0]])
        shift = np.array([x[t], y[t], z[t]])
        expected = np.sqrt(80**2 / 5 * np.trace(skew.T @ skew) + shift @ shift)
        assert table.columns["rmsd"][t + 1] == pytest.approx(expected)


def test_typical_displacement_is_the_one_asked_for(series: np.ndarray) -> None:
    short = replace(STUDY, volumes=40)
    fd = [
        np.nanmedian(
            simulate_confounds(short, series[:40], person).columns["framewise_displacement"]
        )
        for person in range(12)
    ]
    assert np.median(fd) == pytest.approx(0.3, rel=0.3)


def test_the_first_row_is_missing_exactly_where_a_volume_before_is_needed(
    table: ConfoundsTable,
) -> None:
    missing = {name for name, column in table.columns.items() if np.isnan(column[0])}
    needs_one = {"dvars", "std_dvars", "framewise_displacement", "rmsd"} | {
        name for name in table.columns if "derivative1" in name
    }
    assert missing == needs_one
    assert all(np.isfinite(column[1:]).all() for column in table.columns.values())


def test_derivatives_and_powers_are_those_of_their_columns(table: ConfoundsTable) -> None:
    for name in ("global_signal", "csf", "white_matter", *MOTION):
        trace, change = table.columns[name], np.diff(table.columns[name])
        np.testing.assert_allclose(table.columns[f"{name}_power2"], trace**2)
        np.testing.assert_allclose(table.columns[f"{name}_derivative1"][1:], change)
        np.testing.assert_allclose(
            table.columns[f"{name}_derivative1_power2"][1:], change**2, atol=1e-12
        )


def test_cosines_are_nilearns_drifts(table: ConfoundsTable) -> None:
    frames_s = np.arange(200) * STUDY.tr_s
    # The last column of nilearn's is the constant, which fMRIPrep does not write.
    expected = create_cosine_drift(1 / 128, frames_s)[:, :-1]
    ours = [column for name, column in table.columns.items() if name.startswith("cosine")]
    np.testing.assert_allclose(np.stack(ours, axis=1), expected, atol=1e-9)


def test_motion_outliers_flag_one_volume_each_and_all_that_move(table: ConfoundsTable) -> None:
    flags = np.array([c for name, c in table.columns.items() if name.startswith("motion_outlier")])
    moved = (table.columns["framewise_displacement"] > 0.5) | (table.columns["std_dvars"] > 1.5)
    assert moved.any()
    np.testing.assert_array_equal(flags.sum(axis=1), 1)
    np.testing.assert_array_equal(flags.sum(axis=0), moved)


def test_every_component_says_how_it_was_made(table: ConfoundsTable) -> None:
    components = [name for name in table.columns if "_comp_cor_" in name]
    assert {name[0] for name in components} == {"a", "c", "w"}
    for name in components:
        assert table.sidecar[name]["Method"] == "aCompCor"
        assert table.sidecar[name]["Retained"] is True
        assert 0 < table.sidecar[name]["VarianceExplained"] < 1


def test_names_and_sidecar_keys_are_fmripreps(table: ConfoundsTable, shared: Path) -> None:
    (tsv,) = (shared / "data" / "confounds" / "fmriprep-24.1.1_ds005625").glob("*confounds*.tsv")
    with tsv.open(newline="") as stream:
        theirs = set(next(csv.reader(stream, delimiter="\t")))
    ours = {name for name in table.columns if not name.startswith("motion_outlier")}
    assert ours - theirs <= {"cosine04", "cosine05"}
    keys = set(json.loads(tsv.with_suffix(".json").read_text())["a_comp_cor_00"])
    assert set(table.sidecar["a_comp_cor_00"]) == keys
