"""Which columns each strategy takes, against known lists and nilearn."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from nilearn.interfaces.fmriprep import load_confounds_strategy

from fmmtc_bidsapp.bidsio.tables.read_series import read_component_masks, read_run_confounds
from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.options import STRATEGIES, DenoiseOptions
from fmmtc_bidsapp.records import Regressor, Strategy
from fmmtc_bidsapp.signals.denoising.censoring import censored_volumes, dummy_volumes
from fmmtc_bidsapp.signals.denoising.confounds import canonical, motion_measure
from fmmtc_bidsapp.signals.denoising.design import read_design
from fmmtc_bidsapp.signals.denoising.strategies import STRATEGIES_TABLE, choose_strategy

MOTION = {f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"}
SUFFIXES = ("", "_derivative1", "_power2", "_derivative1_power2")
COSINES = {"1.0.x": 0, "1.1.4": 6, "20.1.0": 5, "21.0.2": 5, "24.1.1": 4}


def expanded(*bases, suffixes=SUFFIXES):
    return {base + suffix for base in bases for suffix in suffixes}


def path_of(shared, version):
    folder = next((shared / "data" / "confounds").glob(f"fmriprep-{version}_*"))
    return next(path for path in folder.glob("sub-*confounds*.tsv"))


def real(shared, version, *others):
    path = path_of(shared, version)
    n = len(path.read_text().splitlines()) - 1
    return read_run_confounds([path, *others], n), read_component_masks(path)


def taken(name, shared, version, *others):
    confounds, masks = real(shared, version, *others)
    return read_design(STRATEGIES_TABLE[name], confounds, masks=masks, tr_s=2.0)


def test_the_table_has_every_name_of_the_option():
    assert tuple(sorted(STRATEGIES_TABLE)) == tuple(sorted(STRATEGIES))
    assert all(each.cleans for name, each in STRATEGIES_TABLE.items() if name != "none")
    assert not STRATEGIES_TABLE["none"].cleans


@pytest.mark.parametrize("version", COSINES)
def test_the_columns_of_every_strategy_are_the_same_in_every_version(shared, version):
    cosines = {f"cosine{number:02d}" for number in range(COSINES[version])}
    tissue = {"white_matter", "csf"}
    expected = {
        "simple": expanded(*MOTION) | tissue | cosines,
        "simpleGSR": expanded(*MOTION) | tissue | {"global_signal"} | cosines,
        "p36": expanded(*MOTION, *tissue, "global_signal"),
        "scrubbing": expanded(*MOTION, *tissue) | cosines,
        "none": set(),
    }
    for name, columns in expected.items():
        design, _ = taken(name, shared, version)
        assert set(design) == columns, name
        assert all(np.isfinite(values).all() for values in design.values())
    assert len(expected["simple"]) == 26 + COSINES[version]
    assert len(expected["p36"]) == 36


@pytest.mark.parametrize("version", COSINES)
def test_acompcor_takes_five_components_of_each_tissue_or_the_old_six(shared, version):
    design, notes = taken("acompcor", shared, version)
    components = {name for name in design if "_comp_cor_" in name}
    if version.startswith("1."):
        assert components == {f"a_comp_cor_0{rank}" for rank in range(6)}
    else:
        assert components == {f"{mask}_comp_cor_0{rank}" for mask in "cw" for rank in range(5)}
    motion = expanded(*MOTION, suffixes=("", "_derivative1"))
    assert motion <= set(design)
    assert len(design) == 12 + len(components) + COSINES[version]
    assert any("is a_comp_cor_" in note for note in notes) == (version == "20.1.0")


def test_components_taken_by_mask_are_those_of_the_sidecar(shared):
    design, _ = taken("acompcor", shared, "20.1.0")
    confounds, masks = real(shared, "20.1.0")
    csf = [name for name in confounds if masks.get(name) == "CSF"]
    np.testing.assert_array_equal(design["c_comp_cor_02"], confounds[csf[2]])


def test_computed_columns_are_named_in_the_notes(shared):
    _, notes = taken("simple", shared, "1.1.4")
    (note,) = [each for each in notes if each.startswith("computed here")]
    assert "trans_x_derivative1" in note
    assert len(note.split(", ")) == 1 + 18
    assert not [each for each in taken("simple", shared, "24.1.1")[1] if "computed" in each]


def aroma_table(shared):
    return next(path_of(shared, "24.1.1").parent.glob("fmripost-aroma*.tsv"))


def test_aroma_takes_the_orthogonal_components_of_fmripost_aroma(shared):
    design, _ = taken("aroma", shared, "24.1.1", aroma_table(shared))
    components = [name for name in design if name.startswith("aroma")]
    assert components == [f"aroma_orth_motion_{n}" for n in ("03", "07", "19", "20", "25", "26")]
    assert len(design) == 2 + 6 + 4


def test_aroma_takes_the_columns_of_fmripreps_own_table():
    table = {name: np.arange(9.0) for name in ("CSF", "WhiteMatter", "AROMAAggrComp01")}
    design, _ = read_design(STRATEGIES_TABLE["aroma"], table, masks={}, tr_s=2.0)
    assert list(design) == ["white_matter", "csf", "aroma_motion_01"]


def test_aroma_without_its_table_says_what_to_give(shared):
    with pytest.raises(InputError, match=r"aroma_orth_motion.* or aroma_motion.*aroma=DIR"):
        taken("aroma", shared, "24.1.1")


def test_a_missing_column_is_named_beside_what_there_is():
    table = {name: np.zeros(9) for name in ("trans_x", "csf", "cosine00", "cosine01")}
    with pytest.raises(InputError, match=r"24 motion parameters.*trans_y.*cosine \(2\)"):
        read_design(STRATEGIES_TABLE["simple"], table, masks={}, tr_s=2.0)


@pytest.mark.parametrize(
    ("tr_s", "words"),
    [(2.0, "too short for cosine"), (20.0, "no high-pass"), (None, "no high-pass")],
)
def test_a_run_without_cosines_is_cleaned_and_says_so(tr_s, words):
    wanted = Strategy("s", "s", (Regressor("cosine columns", ((r"cosine\d+",),), optional=True),))
    design, (note,) = read_design(wanted, {"csf": np.zeros(50)}, masks={}, tr_s=tr_s)
    assert design == {}
    assert words in note


def test_a_short_run_without_cosines_keeps_the_other_columns(shared):
    design, notes = taken("simple", shared, "1.0.x")
    assert len(design) == 26
    assert any("a run of 32 s is too short" in note for note in notes)


def test_the_missing_first_value_of_a_derivative_is_that_of_the_second_volume():
    wanted = Strategy("s", "s", (Regressor("a", (("csf_derivative1",),)),))
    design, _ = read_design(wanted, {"csf": np.array([1.0, 3, 4])}, masks={}, tr_s=2.0)
    np.testing.assert_array_equal(design["csf_derivative1"], [2, 2, 1])


@pytest.mark.parametrize("holes", [[2], [0, 1], [3, 4]])
def test_a_hole_in_a_column_that_is_regressed_names_column_and_volume(holes):
    wanted = Strategy("s", "s", (Regressor("a", (("csf",),)),))
    values = np.arange(6.0)
    values[holes] = np.nan
    row = next(hole for hole in holes if hole)
    with pytest.raises(InputError, match=rf"column csf has no value in volume {row} "):
        read_design(wanted, {"csf": values, "x": values}, masks={}, tr_s=2.0)
    other = Strategy("s", "s", (Regressor("a", (("white_matter",),)),))
    table = {"csf": values, "white_matter": np.zeros(6)}
    assert list(read_design(other, table, masks={}, tr_s=2.0)[0]) == ["white_matter"]


@pytest.mark.parametrize("version", ["20.1.0", "21.0.2", "24.1.1"])
@pytest.mark.parametrize("name", ["simple", "scrubbing"])
def test_design_and_retained_volumes_equal_nilearns(shared, tmp_path, version, name):
    path = path_of(shared, version)
    for each in (path, path.with_suffix(".json")):
        (tmp_path / each.name).symlink_to(each)
    stem = re.sub("_desc-.*", "", path.name)
    image = tmp_path / f"{stem}_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"
    image.touch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, sample_mask = load_confounds_strategy(str(image), name, demean=False)
    confounds, masks = real(shared, version)
    strategy = STRATEGIES_TABLE[name]
    design, _ = read_design(strategy, confounds, masks=masks, tr_s=2.0)
    found = pd.DataFrame(design)
    assert set(found) == set(expected)
    np.testing.assert_allclose(found[expected.columns], expected, rtol=1e-12)
    n = len(found)
    dummy, _ = dummy_volumes(canonical(confounds), "auto", n)
    fd_mm, std_dvars = (
        motion_measure(confounds, "framewise_displacement"),
        motion_measure(confounds, "std_dvars"),
    )
    censored, _ = censored_volumes(fd_mm, std_dvars, strategy, dummy)
    kept = np.arange(n) if sample_mask is None else sample_mask
    assert np.flatnonzero(~(dummy | censored)).tolist() == kept.tolist()


def test_a_users_settings_replace_the_strategys_and_0_switches_off():
    p36 = STRATEGIES_TABLE["p36"]
    assert choose_strategy(p36, DenoiseOptions()) == p36
    off = choose_strategy(p36, DenoiseOptions(low_pass=0, fd_threshold=0.2))
    assert (off.low_pass_hz, off.high_pass_hz, off.fd_threshold_mm) == (None, 0.01, 0.2)
    scrubbing = choose_strategy(
        STRATEGIES_TABLE["scrubbing"], DenoiseOptions(fd_threshold=0, dvars_threshold=0)
    )
    assert not scrubbing.censors


def test_a_band_without_frequencies_is_refused():
    with pytest.raises(UsageError, match=r"high-pass of 0\.01 Hz.*low-pass of 0\.005 Hz"):
        choose_strategy(STRATEGIES_TABLE["p36"], DenoiseOptions(low_pass=0.005))
