"""Head motion in the group's report: who is averaged over what, and what the figures say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from fmmtc_bidsapp.bidsio.files.names import GroupFiles, group_motion_connectivity, group_quality
from fmmtc_bidsapp.bidsio.files.tsv import write_tsv
from fmmtc_bidsapp.reports.data.group_analysis import read_analysis
from fmmtc_bidsapp.reports.pages.group_motion import (
    mean_fd_mm,
    motion_section,
    qcfc_section,
    rank_correlation,
)

RUN = {
    "participant_id": "sub-01", "session_id": np.nan, "task_id": "task-rest", "run_id": "run-1",
    "space": "MNI", "atlas": "A424", "desc": "simple", "n_volumes": 100, "mean_fd": 0.1,
    "usable": True,
}  # fmt: skip
PEOPLE = pd.DataFrame({"participant_id": ["sub-01"], "session_id": [np.nan]})


def runs(*changes: dict) -> pd.DataFrame:
    return pd.DataFrame([RUN | each for each in changes])


def fd_of(quality: pd.DataFrame, people: pd.DataFrame = PEOPLE, **about) -> list[float]:
    return mean_fd_mm(quality, people, about).tolist()


def test_runs_of_a_person_are_averaged_by_their_volumes():
    quality = runs({}, {"run_id": "run-2", "n_volumes": 300, "mean_fd": 0.3})
    assert fd_of(quality) == [pytest.approx(0.25)]


def test_a_run_cleaned_twice_counts_once():
    quality = runs({}, {"desc": "aroma"}, {"run_id": "run-2", "mean_fd": 0.4})
    assert fd_of(quality) == [pytest.approx(0.25)]


def test_only_the_atlas_and_cleaning_that_were_read_count():
    quality = runs({"mean_fd": 0.9, "atlas": "Other"}, {"mean_fd": 0.7, "desc": "aroma"}, {})
    assert fd_of(quality, Atlas="A424", Options={"desc": "simple"}) == [pytest.approx(0.1)]


@pytest.mark.parametrize(("kept", "fd"), [(False, 0.1), (True, 0.3)])
def test_unusable_runs_count_only_where_they_were_kept(kept, fd):
    quality = runs({}, {"run_id": "run-2", "mean_fd": 0.5, "usable": False})
    assert fd_of(quality, Options={"keep_unusable": kept}) == [pytest.approx(fd)]


def test_a_session_has_the_motion_of_its_own_runs_and_a_stranger_none():
    quality = runs({"session_id": "ses-1"}, {"session_id": "ses-2", "mean_fd": 0.6})
    people = pd.DataFrame(
        {"participant_id": ["sub-01", "sub-02"], "session_id": ["ses-2", "ses-1"]}
    )
    first, second = fd_of(quality, people)
    assert first == pytest.approx(0.6)
    assert np.isnan(second)


def test_the_rank_correlation_is_scipys_and_lies_in_its_interval():
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(size=60), 1)
    y = x + rng.normal(size=60)
    found = rank_correlation(x, y)
    assert found.value == pytest.approx(spearmanr(x, y).statistic)
    assert found.low < found.value < found.high
    assert found.low > 0


def test_its_interval_is_that_of_scipys_over_the_same_draws():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 12))
    rows = np.random.default_rng(20250303).integers(0, 12, size=(50, 12))
    draws = [spearmanr(x[each], y[each]).statistic for each in rows]
    found = rank_correlation(x, y, 50)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, (0.025, 0.975))))


@pytest.mark.parametrize(("x", "y"), [([1, 2, 3, 4], [1, 2, 3, 4]), ([1] * 6, [1, 2, 3, 4, 5, 6])])
def test_too_few_people_or_equal_motion_have_no_correlation(x, y):
    assert np.isnan(rank_correlation(np.array(x, float), np.array(y, float)).value)


def test_people_of_unknown_motion_are_left_out_of_the_correlation():
    x = np.array([1, 2, 3, 4, 5, np.nan, 6.0])
    found = rank_correlation(x, np.arange(7.0))
    assert found.n == 6
    assert found.value == pytest.approx(1)


def analysis_with(write_a_group, fd) -> dict:
    root = write_a_group.train()
    n = len(fd)
    write_tsv(
        group_quality(root),
        {
            "participant_id": [f"sub-{i:03d}" for i in range(n)], "session_id": [None] * n,
            "task_id": ["task-rest"] * n, "atlas": ["A424"] * n, "desc": ["simple"] * n,
            "n_volumes": [100] * n, "mean_fd": fd, "usable": [True] * n,
        },
    )  # fmt: skip
    return motion_section(read_analysis(GroupFiles(root, "L")))


@pytest.mark.parametrize(
    ("sign", "words"),
    [(1, "were given higher probabilities"), (-1, "were given lower probabilities")],
)
def test_motion_that_goes_with_the_prediction_is_said_to(write_a_group, sign, words):
    people = read_analysis(GroupFiles(write_a_group.train(), "L")).people
    section = analysis_with(write_a_group, 0.5 + 0.4 * sign * people["probability"].to_numpy())
    assert words in section["motion_sentences"][0]
    assert 'aria-label="Predicted probability' in section["motion"]


def test_motion_that_does_not_is_not_and_its_baseline_is_named(write_a_group):
    section = analysis_with(write_a_group, np.tile([0.1, 0.1, 0.3, 0.3], 5))
    told = " ".join(section["motion_sentences"])
    assert "no clear relation" in told
    assert "No model of head motion alone was fitted" in told


def test_people_without_known_motion_are_counted(write_a_group):
    section = analysis_with(write_a_group, np.linspace(0.1, 0.3, 18))
    assert "Head motion of 2 people is not known" in " ".join(section["motion_sentences"])


def test_without_tables_of_quality_the_section_says_what_to_run(write_a_group):
    root = write_a_group.train()
    section = motion_section(read_analysis(GroupFiles(root, "L")))
    assert section["motion"] == ""
    assert "so this was not checked" in section["motion_absent"]
    absent = qcfc_section(root)["motion_kinds_absent"]
    assert "--analysis qc" in absent
    assert "so QC-FC was not computed" in absent


def test_qc_fc_is_a_row_a_kind_and_a_figure_by_distance(write_a_group):
    root = write_a_group.train()
    bins = ["all", "1", "2"]
    write_tsv(
        group_motion_connectivity(root),
        {
            "desc": ["simple"] * 3, "atlas": ["A424"] * 3, "space": ["MNI"] * 3,
            "measure": ["correlation"] * 3, "bin": bins, "n_participants": [20] * 3,
            "distance_low_mm": [5.0, 5.0, 50.0], "distance_high_mm": [90.0, 50.0, 90.0],
            "n_edges": [100, 50, 50], "median_r": [0.02, 0.05, -0.01],
            "median_abs_r": [0.163, 0.2, 0.15], "share_p_below_05": [0.1, 0.1, 0.1],
            "share_q_below_05": [0.0, 0.0, 0.0], "distance_spearman": [-0.3, None, None],
            "chance_median_abs_r": [0.158, None, None], "note": [None] * 3,
        },
    )  # fmt: skip
    section = qcfc_section(root)
    (row,) = section["motion_kinds"]
    assert (row["median_abs_r"], row["chance_median_abs_r"]) == ("0.16", "0.16")
    assert row["distance_spearman"] == "−0.30"
    assert section["motion_edges"].count("<svg") == 1
    assert section["motion_kinds_absent"] == ""
