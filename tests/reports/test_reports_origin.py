"""Every page says what made the images, when the results were computed, and what is simulated."""

from __future__ import annotations

import re

import pytest
from applied_analysis import EVIDENCE, write_applied

from fmmtc_bidsapp.bidsio.files.atomic import write_json, write_text
from fmmtc_bidsapp.bidsio.files.names import GroupFiles
from fmmtc_bidsapp.reports.data.outputs import RESULTS_KEY, RESULTS_NOTE, read_json, results_digest
from fmmtc_bidsapp.reports.pages.group import write_group_report
from fmmtc_bidsapp.reports.pages.participant import write_participant_report
from fmmtc_bidsapp.reports.pages.sheet import write_sheets
from fmmtc_bidsapp.reports.text.methods import group_methods, participant_methods

FMRIPREP = {"InputDataset": "Study of pain", "InputGeneratedBy": ["fMRIPrep 24.1.1"]}
SIMULATED = {"InputGeneratedBy": ["fmmtc-tools simulate 0.1.0"], "Simulated": True}
BANNER = "SIMULATED DATA"


def head(html: str) -> str:
    """Text of the header of a page."""
    found = re.search('<header class="page">(.*?)</header>', html, re.DOTALL)
    return " ".join(re.sub("<[^>]*>", " ", found[1]).split())


def tell(path, **keys):
    """Add keys to the sidecar of a table."""
    sidecar = path.with_suffix(".json")
    write_json(sidecar, read_json(sidecar) | keys)


def test_the_head_of_a_participant_report_names_dataset_preprocessing_version_and_date(write_a_run):
    write_a_run.run(sidecar=FMRIPREP)
    plan = write_a_run.root / "sub-01" / "log" / "20260102-101500_a" / "plan.toml"
    write_text(plan, 'mode = "run"\n')
    told = head(write_participant_report(write_a_run.root, "sub-01").read_text())
    assert "Dataset Study of pain" in told
    assert "Images made by fMRIPrep 24.1.1" in told
    assert "Analysed by fmmtc_bidsapp 0.0.1" in told
    assert "Computed on 2026-01-02" in told
    assert BANNER not in told


def test_what_no_sidecar_says_is_not_stated_in_the_head(write_a_run):
    told = head(write_participant_report(write_a_run(), "sub-01").read_text())
    assert "Images made by not stated" in told
    assert "fMRIPrep" not in told


def test_the_methods_text_names_the_version_of_fmriprep_that_the_dataset_states(write_a_run):
    write_a_run.run(sidecar=FMRIPREP)
    text = participant_methods(write_a_run.root)
    assert text.startswith("Functional images preprocessed with fMRIPrep 24.1.1 [@esteban2019]")


@pytest.mark.parametrize(
    "origin", [{}, {"InputGeneratedBy": []}, {"InputGeneratedBy": ["XCP-D 0.10.1"]}, SIMULATED]
)
def test_the_methods_text_never_says_fmriprep_where_the_dataset_does_not(write_a_run, origin):
    write_a_run.run(sidecar=origin)
    text = participant_methods(write_a_run.root)
    assert "fMRIPrep" not in text
    assert "esteban2019" not in text
    assert all(maker in text for maker in origin.get("InputGeneratedBy", []))
    assert text.startswith(BANNER) == (origin == SIMULATED)


def test_runs_of_several_versions_are_told_with_all_of_them(write_a_run):
    write_a_run.run("01", sidecar=FMRIPREP)
    write_a_run.run("02", sidecar={"InputGeneratedBy": ["fMRIPrep 23.2.0"]})
    write_a_run.run("03")
    text = participant_methods(write_a_run.root)
    assert "fMRIPrep 24.1.1 [@esteban2019] and fMRIPrep 23.2.0" in text
    assert "for some runs it is not stated" in text


def test_a_participant_report_of_simulated_images_has_the_banner(write_a_run):
    write_a_run.run(sidecar=SIMULATED)
    told = head(write_participant_report(write_a_run.root, "sub-01").read_text())
    assert told.startswith(BANNER)
    assert "Images made by fmmtc-tools simulate 0.1.0" in told


def test_a_group_report_of_simulated_images_has_the_banner_and_says_so_in_the_methods(
    write_a_group,
):
    root = write_a_group.train()
    tell(GroupFiles(root, "L").metrics, **SIMULATED)
    assert head(write_group_report(root, "L").read_text()).startswith(BANNER)
    assert group_methods(root, "L").startswith(BANNER)


def test_a_group_report_of_real_images_has_no_banner(write_a_group):
    root = write_a_group.train()
    tell(GroupFiles(root, "L").metrics, **FMRIPREP)
    html = write_group_report(root, "L").read_text()
    assert BANNER not in html
    assert "Images made by fMRIPrep 24.1.1" in head(html)


def test_a_sheet_of_simulated_images_has_the_banner(tmp_path):
    write_applied(tmp_path, **SIMULATED)
    assert head(write_sheets(tmp_path, "new")[0].read_text()).startswith(BANNER)


def test_a_model_that_was_trained_on_simulated_data_is_told_on_every_page_of_real_people(tmp_path):
    write_applied(tmp_path, Evidence={**EVIDENCE, "simulated": True}, **FMRIPREP)
    for html in (write_sheets(tmp_path, "new")[0], write_group_report(tmp_path, "new")):
        told = head(html.read_text())
        assert told.startswith(BANNER)
        assert "trained on simulated data" in told
        assert "Nobody was scanned" not in told


def test_a_rerun_that_finds_the_same_results_keeps_the_date_of_the_first(tmp_path):
    files = write_applied(tmp_path)
    first, second = (files.log_dir(each) for each in ("20261121-101500_a", "20261224-101500_b"))
    write_text(second / "plan.toml", 'label = "new"\nanalysis = "apply"\n')
    note = {RESULTS_KEY: results_digest(files)}
    write_json(first / RESULTS_NOTE, note)
    before = write_group_report(tmp_path, "new").read_bytes()
    write_json(second / RESULTS_NOTE, note)
    assert write_group_report(tmp_path, "new").read_bytes() == before
    assert "Computed on 2026-11-21" in head(before.decode())


def test_results_that_changed_have_the_date_of_the_call_that_changed_them(tmp_path):
    files = write_applied(tmp_path)
    first, second = (files.log_dir(each) for each in ("20261121-101500_a", "20261224-101500_b"))
    write_json(first / RESULTS_NOTE, {RESULTS_KEY: results_digest(files)})
    write_text(second / "plan.toml", 'label = "new"\nanalysis = "apply"\n')
    write_applied(tmp_path, person={"probability": 0.7})
    write_json(second / RESULTS_NOTE, {RESULTS_KEY: results_digest(files)})
    assert "Computed on 2026-12-24" in head(write_group_report(tmp_path, "new").read_text())
