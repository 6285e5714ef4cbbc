"""Motion and volumes of XCP-D's runs, from the tables that it writes beside them."""

import pandas as pd
import pytest

from fmmtc_bidsapp.bidsio.cohort.matrices import find_matrices
from fmmtc_bidsapp.bidsio.cohort.series import find_series
from fmmtc_bidsapp.bidsio.files.names import parse_name
from fmmtc_bidsapp.bidsio.layout.query import Query
from fmmtc_bidsapp.bidsio.tables.xcpd_quality import read_xcpd_quality
from fmmtc_bidsapp.errors import InputError

SPACE = "space-MNI152NLin2009cAsym"
RUN = "sub-01_task-rest_run-1"
SERIES = f"{RUN}_{SPACE}_atlas-Gordon_stat-mean_timeseries.tsv"
# Columns as XCP-D 0.10 to 26 has them.
QC = {"sub": ["01"], "task": ["rest"], "mean_fd": [0.17], "mean_relative_rms": [0.05]}
QC |= {"num_dummy_volumes": [0], "num_censored_volumes": [12], "num_retained_volumes": [88]}
MOTION = {"trans_x": [0.0, 0.1, 0.2], "framewise_displacement": [None, 0.1, 0.5]}


@pytest.fixture
def func(tmp_path):
    folder = tmp_path / "sub-01" / "func"
    folder.mkdir(parents=True)
    (folder / SERIES).write_text("a\tb\n1\t2\n2\t1\n")
    return folder


def add(func, name, columns, sep="\t"):
    pd.DataFrame(columns).to_csv(func / name, sep=sep, index=False, na_rep="n/a")


def read(func):
    return read_xcpd_quality(func / SERIES, parse_name(SERIES).entities)


def test_motion_and_volumes_are_those_of_the_run_in_linc_qc(func, tmp_path):
    add(func, f"{RUN}_{SPACE}_desc-linc_qc.tsv", QC)
    for other in ("sub-01_task-rest_run-2", "sub-01_task-nback_run-1", "sub-01_task-rest"):
        add(func, f"{other}_{SPACE}_desc-linc_qc.tsv", QC | {"mean_fd": [9.0]})
    add(func, f"{RUN}_motion.tsv", {"framewise_displacement": [5.0, 5.0]})
    (series,), _ = find_series(tmp_path, Query((), (), (), ()), desc=None)
    assert (series.mean_fd_mm, series.n_volumes_retained) == (0.17, 88)


def test_without_linc_qc_the_motion_table_is_averaged_over_its_known_volumes(func):
    add(func, f"{RUN}_motion.tsv", MOTION)
    add(func, f"{RUN}_desc-filtered_motion.tsv", {"framewise_displacement": [0.0, 0.0]})
    add(func, "sub-01_task-rest_run-2_motion.tsv", {"framewise_displacement": [9.0]})
    found = read(func)
    assert found.mean_fd_mm == pytest.approx((0.1 + 0.5) / 2)
    assert found.n_volumes_retained is None


def test_the_names_of_older_versions_are_read(func):
    add(func, f"{RUN}_{SPACE}_desc-linc_qc.csv", {"meanFD": [0.2], "nVolCensored": [3]}, sep=",")
    assert read(func).mean_fd_mm == 0.2


def test_a_matrix_has_the_motion_of_its_run_too(func, tmp_path):
    (func / SERIES).unlink()
    name = SERIES.replace("stat-mean_timeseries", "stat-pearsoncorrelation_relmat")
    (func / name).write_text("Node\ta\tb\na\t1\t0\nb\t0\t1\n")
    add(func, f"{RUN}_space-fsLR_desc-linc_qc.tsv", QC | {"mean_fd": [0.9]})
    add(func, f"{RUN}_{SPACE}_desc-linc_qc.tsv", QC)
    (matrix,), _ = find_matrices(tmp_path, Query((), (), (), ()), desc=None)
    assert (matrix.mean_fd_mm, matrix.n_volumes_retained) == (0.17, 88)


def test_motion_that_no_table_tells_is_unknown(func):
    assert (read(func).mean_fd_mm, read(func).n_volumes_retained) == (None, None)
    add(func, f"{RUN}_{SPACE}_desc-linc_qc.tsv", QC | {"mean_fd": [None]})
    assert read(func).mean_fd_mm is None


@pytest.mark.parametrize("value", ["high", -0.1, "inf"])
def test_a_table_that_is_damaged_costs_its_run_with_the_reason(func, tmp_path, value):
    add(func, f"{RUN}_{SPACE}_desc-linc_qc.tsv", QC | {"mean_fd": [value]})
    with pytest.raises(InputError, match="mean_fd"):
        read(func)
    found, (exclusion,) = find_series(tmp_path, Query((), (), (), ()), desc=None)
    assert not found
    assert "desc-linc_qc.tsv" in exclusion.reason
