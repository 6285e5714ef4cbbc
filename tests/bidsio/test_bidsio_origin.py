"""What a dataset says of its making is read and carried on; nothing is guessed."""

from __future__ import annotations

import json

import pytest

from fmmtc_bidsapp.bidsio.files.origin import (
    SIMULATOR,
    join_origins,
    origin_keys,
    origin_of,
    read_origin,
)
from fmmtc_bidsapp.bidsio.layout.find_fmriprep import find_fmriprep
from fmmtc_bidsapp.records import Origin

OLD_SIMULATION = [
    {"Name": "fMRIPrep", "Version": "simulated"},
    {"Name": "fmmtc_bidsapp", "Version": "0.1.0"},
]


def describe(folder, **keys):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "Own name", **keys}))
    return folder


@pytest.mark.parametrize(
    ("keys", "made_by"),
    [
        ({"GeneratedBy": [{"Name": "fMRIPrep", "Version": "24.1.1"}]}, ("fMRIPrep 24.1.1",)),
        ({"PipelineDescription": {"Name": "fMRIPrep", "Version": "1.5.0"}}, ("fMRIPrep 1.5.0",)),
        ({"GeneratedBy": [{"Name": "XCP-D", "Version": "0.10.1"}]}, ("XCP-D 0.10.1",)),
        ({"GeneratedBy": [{"Name": "fMRIPrep"}]}, ("fMRIPrep",)),
        ({"GeneratedBy": [{"Version": "1"}, 3, None]}, ()),
        ({"GeneratedBy": "fMRIPrep"}, ()),
        ({}, ()),
    ],
)
def test_the_programs_are_those_that_the_description_names_with_their_versions(
    tmp_path, keys, made_by
):
    origin = read_origin(describe(tmp_path, **keys))
    assert origin == Origin("Own name", made_by, simulated=False)


def test_without_a_description_nothing_is_stated(tmp_path):
    assert read_origin(tmp_path) == Origin()


def test_the_dataset_is_called_by_the_name_of_the_raw_one(tmp_path):
    raw = describe(tmp_path / "raw")
    derivatives = describe(raw / "derivatives", Name="fMRIPrep - preprocessing workflow")
    assert read_origin(derivatives, raw).dataset == "Own name"


@pytest.mark.parametrize("made_by", [[{"Name": SIMULATOR, "Version": "0.1.0"}], OLD_SIMULATION])
def test_simulated_derivatives_are_known_and_nothing_says_that_fmriprep_ran(tmp_path, made_by):
    origin = read_origin(describe(tmp_path, GeneratedBy=made_by))
    assert origin.simulated
    assert all(each.startswith(SIMULATOR) for each in origin.made_by)


def test_what_another_program_made_of_a_simulated_dataset_is_simulated(tmp_path):
    raw = describe(tmp_path / "raw", GeneratedBy=[{"Name": SIMULATOR}])
    xcp_d = describe(tmp_path / "xcp_d", GeneratedBy=[{"Name": "XCP-D", "Version": "0.10.1"}])
    assert read_origin(xcp_d, raw) == Origin("Own name", ("XCP-D 0.10.1",), simulated=True)


def test_an_origin_comes_back_from_the_sidecar_it_was_written_to():
    for origin in (Origin(), Origin("x", ("fMRIPrep 24.1.1",)), Origin(simulated=True)):
        assert origin_of(origin_keys(origin)) == origin
    assert origin_of({"RepetitionTime": 2.0}) is None


def test_files_that_do_not_say_are_told_beside_those_that_do():
    joined = join_origins([Origin("x", ("fMRIPrep 24.1.1",)), None, Origin("x", simulated=True)])
    assert joined == Origin("x", ("fMRIPrep 24.1.1", "not stated"), simulated=True)
    assert join_origins([None, None]) == Origin()


def test_simulated_derivatives_are_found_like_fmripreps_and_their_raw_dataset_is_not_one(tmp_path):
    made_by = [{"Name": SIMULATOR, "Version": "0.1.0"}]
    raw = describe(tmp_path / "raw", DatasetType="raw", GeneratedBy=made_by)
    derivatives = raw / "derivatives" / "fmriprep"
    describe(derivatives, DatasetType="derivative", GeneratedBy=made_by)
    assert find_fmriprep(raw, {}) == derivatives
    assert find_fmriprep(derivatives, {}) == derivatives
