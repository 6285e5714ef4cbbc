"""Names and expansions of confounds, on the tables of five fMRIPrep versions."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from fmmtc_bidsapp.bidsio.tables.read_series import read_component_masks
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.signals.denoising.confounds import (
    EXPANDED,
    canonical,
    components_by_mask,
    current_name,
    motion_measure,
    summarise,
)

VERSIONS = ["1.0.x", "1.1.4", "20.1.0", "21.0.2", "24.1.1"]


def real_path(shared, version):
    folder = next((shared / "data" / "confounds").glob(f"fmriprep-{version}_*"))
    return next(path for path in folder.glob("sub-*confounds*.tsv"))


def real(shared, version):
    table = pd.read_csv(real_path(shared, version), sep="\t", na_values="n/a")
    return {name: column.to_numpy(float) for name, column in table.items()}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("CSF", "csf"),
        ("WhiteMatter", "white_matter"),
        ("GlobalSignal", "global_signal"),
        ("stdDVARS", "std_dvars"),
        ("non-stdDVARS", "dvars"),
        ("FramewiseDisplacement", "framewise_displacement"),
        ("X", "trans_x"),
        ("TransZ", "trans_z"),
        ("RotY", "rot_y"),
        ("aCompCor00", "a_comp_cor_00"),
        ("aCompCor_05", "a_comp_cor_05"),
        ("tCompCor03", "t_comp_cor_03"),
        ("Cosine00", "cosine00"),
        ("cosine_12", "cosine12"),
        ("NonSteadyStateOutlier00", "non_steady_state_outlier00"),
        ("AROMAAggrComp02", "aroma_motion_02"),
        ("csf_derivative1", "csf_derivative1"),
        ("my_own", "my_own"),
    ],
)
def test_every_spelling_becomes_todays(old, new):
    assert current_name(old) == new
    assert current_name(new) == new


@pytest.mark.parametrize("version", VERSIONS)
def test_every_real_table_has_the_same_columns_afterwards(shared, version):
    table = real(shared, version)
    found = canonical(table)
    suffixes = ("", "_derivative1", "_power2", "_derivative1_power2")
    assert {base + suffix for base in EXPANDED for suffix in suffixes} <= set(found)
    assert {"framewise_displacement", "std_dvars", "dvars", "a_comp_cor_00"} <= set(found)
    assert not [name for name in found if name != name.lower()]
    for measure in ("framewise_displacement", "std_dvars"):
        unknown = np.isnan(motion_measure(table, measure)).tolist()
        assert unknown == [True] + [False] * (len(found["csf"]) - 1)
    assert (motion_measure(table, "rmsd") is None) == version.startswith("1.")


@pytest.mark.parametrize("version", ["20.1.0", "21.0.2", "24.1.1"])
def test_expansions_computed_here_equal_fmripreps(shared, version):
    table = real(shared, version)
    computed = canonical({base: table[base] for base in EXPANDED})
    assert len(computed) == 36
    for name, values in computed.items():
        np.testing.assert_allclose(values, table[name], rtol=1e-6, atol=1e-9, err_msg=name)


def test_what_the_table_has_is_not_computed_anew():
    own = np.array([np.nan, 5.0, 7.0])
    found = canonical({"X": np.arange(3.0), "trans_x_derivative1": own})
    np.testing.assert_array_equal(found["trans_x_derivative1"], own)
    np.testing.assert_array_equal(found["trans_x_derivative1_power2"], [np.nan, 1, 1])
    np.testing.assert_array_equal(found["trans_x_power2"], [0, 1, 4])


def test_one_column_under_two_spellings_is_refused():
    with pytest.raises(InputError, match="two columns csf, one of them as CSF"):
        canonical({"csf": np.zeros(2), "CSF": np.zeros(2)})


def test_components_of_20_1_are_told_apart_by_their_sidecar(shared):
    path = real_path(shared, "20.1.0")
    names = components_by_mask(real(shared, "20.1.0"), read_component_masks(path))
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert len([name for name in names if name.startswith("c_")]) == 8
    assert len([name for name in names if name.startswith("w_")]) == 70
    for new, old in names.items():
        assert sidecar[old]["Mask"] == {"c": "CSF", "w": "WM"}[new[0]]
    # The strongest component of a mask comes first.
    for prefix in "cw":
        first, second = (
            sidecar[names[f"{prefix}_comp_cor_0{rank}"]]["SingularValue"] for rank in (0, 1)
        )
        assert first > second


def test_components_that_carry_todays_names_stay_as_they_are(shared):
    path = real_path(shared, "24.1.1")
    assert components_by_mask(real(shared, "24.1.1"), read_component_masks(path)) == {}
    assert components_by_mask(["a_comp_cor_00"], {}) == {}


def test_a_summary_counts_kinds():
    names = ["csf", "csf_derivative1_power2", "trans_x", "cosine00", "cosine01", "c_comp_cor_00"]
    assert summarise(names) == "csf (2), trans_x, cosine (2), c_comp_cor"
    assert summarise([]) == "no columns"
