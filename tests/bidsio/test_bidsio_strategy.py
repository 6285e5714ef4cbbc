"""A user's cleaning strategy, in XCP-D's form."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fmmtc_bidsapp.bidsio.tables.read_series import read_component_masks, read_run_confounds
from fmmtc_bidsapp.bidsio.tables.strategy import read_strategy
from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.options import STRATEGIES

GOOD = r"""
name: mine
description: |
    Six motion parameters,
    the first components and cosines.
confounds:
  preproc:
    dataset: preprocessed
    query: {space: null, desc: confounds, extension: .tsv, suffix: timeseries}
    columns:
    - trans_x
    - ^c_comp_cor_0[0-4]$
    - ^cosine_\d+$
  components:
    dataset: aroma
    query: {description: confounds, extension: .tsv, suffix: timeseries}
    columns: [^aroma_orth_motion_.*$]
low_pass: 0.1
high_pass: 0
fd_threshold: 0.3
detrend: false
"""


def written(folder, text):
    path = folder / "mine.yml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_name_of_our_own_is_no_file(name):
    assert read_strategy(name) is None


def test_a_file_in_xcp_ds_form_becomes_a_strategy(tmp_path):
    found = read_strategy(written(tmp_path, GOOD))
    assert found.name == "mine"
    assert found.title == "Six motion parameters, the first components and cosines."
    assert [each.alternatives for each in found.regressors] == [
        (("trans_x",),),
        (("c_comp_cor_0[0-4]",),),
        ((r"cosine\d+",),),
        (("aroma_orth_motion_.*",),),
    ]
    assert [each.optional for each in found.regressors] == [False, False, True, False]
    assert (found.low_pass_hz, found.high_pass_hz) == (0.1, None)
    assert (found.fd_threshold_mm, found.std_dvars_threshold) == (0.3, None)
    assert not found.detrend


def test_a_plain_column_is_no_pattern(tmp_path):
    text = "name: mine\nconfounds: {a: {columns: [my.own]}}"
    ((pattern,),) = read_strategy(written(tmp_path, text)).regressors[0].alternatives
    assert re.fullmatch(pattern, "my.own")
    assert not re.fullmatch(pattern, "my_own")


def test_columns_of_outliers_may_be_absent_from_a_good_run(tmp_path):
    text = r"name: mine" + "\n" + r"confounds: {a: {columns: ['^motion_outlier\d+$']}}"
    assert read_strategy(written(tmp_path, text)).regressors[0].optional


def test_a_filter_alone_is_a_strategy(tmp_path):
    found = read_strategy(written(tmp_path, "name: band\nlow_pass: 0.1\nhigh_pass: 0.01\n"))
    assert found.regressors == ()
    assert found.title == "band"
    assert found.detrend
    assert found.filters


ENTRY = "name: mine\nconfounds:\n  a:\n    columns: [csf]\n    "


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n", r"the file is \['a'\]"),
        ("name: [", "not valid YAML"),
        ("[" * 3000, "not valid YAML"),
        ("name: 2024-13-45", "not valid YAML"),
        ("name: mine\nlow_pass: 1" + "0" * 400, "low_pass is 1000"),
        ("confounds: {}", "name is None"),
        ("name: 36P+", "letters and digits"),
        ("name: my__own", "letters and digits"),
        ("name: 36", "letters and digits"),
        ("name: p36", "a strategy of this program"),
        ("name: simple_gsr", "a strategy of this program"),
        ("name: simplegsr", "a strategy of this program"),
        ("name: mine\nlowpass: 1", "unknown key lowpass; those allowed are name"),
        ("name: mine\nlow_pass: high", "low_pass is 'high'"),
        ("name: mine\nlow_pass: -1", "low_pass is -1"),
        ("name: mine\nfd_threshold: .nan", "fd_threshold is nan"),
        ("name: mine\nfd_threshold: true", "fd_threshold is True"),
        ("name: mine\nlow_pass: 0.01\nhigh_pass: 0.1", "must be below"),
        ("name: mine\ndetrend: 1", "detrend is 1"),
        ("name: mine\ndetrend: false", "cleans nothing"),
        ("name: mine\nconfounds: [a]", "entry 1 of confounds is"),
        ("name: mine\nconfounds: a", "confounds is"),
        ("name: mine\nconfounds: {a: {columns: []}}", "a: columns is"),
        ("name: mine\nconfounds: {a: {columns: [1]}}", "the column 1"),
        ("name: mine\nconfounds: {a: {columns: ['^c(sf$']}}", "not a valid regular expression"),
        (ENTRY + "dataset: rapidtide", "dataset is 'rapidtide'"),
        (ENTRY + "query: {suffix: bold}", "suffix 'bold'"),
        (ENTRY + "query: {desc: physio}", "desc 'physio'"),
        (ENTRY + "query: {extension: .nii.gz}", "Voxelwise regressors"),
        ("name: mine\nconfounds: {a: {query: {desc: x}}}", "Voxelwise regressors"),
        (ENTRY + "column: [a]", "unknown key column"),
    ],
)
def test_what_cannot_be_met_is_wrong_use_and_names_the_file(tmp_path, text, words):
    path = written(tmp_path, text)
    with pytest.raises(UsageError, match=words) as caught:
        read_strategy(path)
    assert path in str(caught.value)


def test_a_name_that_is_none_lists_those_there_are(tmp_path):
    with pytest.raises(UsageError, match=r"'p37'; it must be one of simple, none.*\.yml"):
        read_strategy("p37")
    with pytest.raises(UsageError, match="missing"):
        read_strategy(str(tmp_path / "no.yaml"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("36P", "p36 here"),
        ("24P", "simple adds"),
        ("acompcor_gsr", "acompcor lacks"),
        ("gsr_only", "simple, none"),
    ],
)
def test_a_name_of_xcp_ds_is_an_error_that_names_ours(name, words):
    with pytest.raises(UsageError, match=rf"name of XCP-D.*{words}.*") as caught:
        read_strategy(name)
    assert f"or the path of XCP-D's {name}.yml" in str(caught.value)


XCPD = """name: {name}
description: |
    Nuisance regressors were selected according to this strategy.
confounds:
{first}dataset: preprocessed
    query: {{space: null, {key}: confounds, extension: .tsv, suffix: timeseries}}
    columns:
    - trans_x
    - global_signal
    - ^w_comp_cor_0[0-4]$
    - ^cosine_\\d+$
"""


@pytest.mark.parametrize("first", ["  preproc:\n    ", "-   ", "-   name: preproc\n    "])
@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("acompcor_gsr", "acompcorGsr"),
        ("acompcor", "acompcorXCPD"),
        ("aroma", "aromaXCPD"),
        ("aroma_gsr", "aromaGsr"),
        ("gsr_only", "gsrOnly"),
        ("36P", "36P"),
    ],
)
def test_xcp_ds_own_files_load_under_a_name_that_can_stand_in_a_file_name(
    tmp_path, name, label, first
):
    key = "desc" if first.startswith(" ") else "description"
    path = tmp_path / f"{name}.yml"
    path.write_text(XCPD.format(name=name, first=first, key=key))
    found = read_strategy(str(path))
    assert found.name == label
    assert [each.alternatives for each in found.regressors] == [
        (("trans_x",),),
        (("global_signal",),),
        (("w_comp_cor_0[0-4]",),),
        ((r"cosine\d+",),),
    ]


def test_nothing_in_the_file_is_run(tmp_path):
    with pytest.raises(UsageError, match="not valid YAML"):
        read_strategy(written(tmp_path, "name: !!python/object/apply:os.getcwd []"))


def table(path, columns):
    header, rows = list(columns), zip(*columns.values(), strict=True)
    path.write_text("\n".join("\t".join(map(str, row)) for row in [header, *rows]) + "\n")
    return path


def test_aromas_table_replaces_the_components_of_fmripreps(tmp_path):
    own = table(
        tmp_path / "a.tsv", {"csf": [1, 2], "aroma_motion_01": [1, 1], "AROMAAggrComp2": [0, 1]}
    )
    aroma = table(tmp_path / "b.tsv", {"aroma_motion_05": [3, 4]})
    assert list(read_run_confounds([own], 2)) == ["csf", "aroma_motion_01", "AROMAAggrComp2"]
    both = read_run_confounds([own, aroma], 2)
    assert list(both) == ["csf", "aroma_motion_05"]
    np.testing.assert_array_equal(both["aroma_motion_05"], [3, 4])
    assert read_run_confounds([], 2) is None
    with pytest.raises(InputError, match="2 rows but its image has 3 volumes"):
        read_run_confounds([own, aroma], 3)


def test_masks_of_components_are_read_from_the_sidecar(tmp_path):
    path = tmp_path / "a.tsv"
    assert read_component_masks(path) == {}
    (tmp_path / "a.json").write_text('{"a_comp_cor_00": {"Mask": "CSF"}, "csf": {}, "n": 3}')
    assert read_component_masks(path) == {"a_comp_cor_00": "CSF"}


def test_masks_that_were_not_fetched_are_an_error_and_not_no_masks(tmp_path):
    (tmp_path / "a.json").symlink_to("../.git/annex/objects/x/y")
    with pytest.raises(InputError, match="datalad get"):
        read_component_masks(tmp_path / "a.tsv")
