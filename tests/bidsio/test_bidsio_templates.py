"""TemplateFlow's files: found without its client, fetched with it, and missed in plain words."""

from __future__ import annotations

import subprocess
import sys

import pytest
import requests

from fmmtc_bidsapp.bidsio.atlases import templates
from fmmtc_bidsapp.bidsio.atlases.templates import (
    fetch_templates,
    find_template_mask,
    find_transform,
    templateflow_home,
)
from fmmtc_bidsapp.cli.tools import main
from fmmtc_bidsapp.errors import MissingResourceError

SIX, NINE = "MNI152NLin6Asym", "MNI152NLin2009cAsym"
TO_NINE = f"tpl-{NINE}/tpl-{NINE}_from-{SIX}_mode-image_xfm.h5"
TO_SIX = f"tpl-{SIX}/tpl-{SIX}_from-{NINE}_mode-image_xfm.h5"
MASKS = [f"tpl-{each}/tpl-{each}_res-02_desc-brain_mask.nii.gz" for each in (SIX, NINE)]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "templateflow"))
    return tmp_path / "templateflow"


@pytest.fixture
def put(home):
    """Return a function that puts a file into TemplateFlow's folder."""

    def put(name, content=b"content"):
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return put


@pytest.fixture
def server(put, monkeypatch):
    """Replace the network: what is asked for is put there, and listed."""
    asked = []

    def download(file):
        asked.append(f"tpl-{file.template}/{file.name}")
        put(asked[-1])

    monkeypatch.setattr(templates, "_ask_templateflow", download)
    return asked


@pytest.fixture
def offline(monkeypatch):
    def refuse(file):
        raise requests.ConnectionError("Network is unreachable")

    monkeypatch.setattr(templates, "_ask_templateflow", refuse)


def test_a_transform_lies_with_the_template_it_leads_to(put, offline):
    to_nine, to_six = put(TO_NINE), put(TO_SIX)
    assert find_transform(SIX, NINE) == to_nine
    assert find_transform(NINE, SIX) == to_six


def test_what_is_there_is_found_without_templateflows_client(put):
    put(TO_NINE)
    code = (
        "import sys; from fmmtc_bidsapp.bidsio.atlases.templates import find_transform;"
        f"find_transform('{SIX}', '{NINE}'); print('templateflow' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.stdout.strip(), result.returncode) == ("False", 0)


@pytest.mark.parametrize("placeholder", [None, b""])
def test_an_absent_or_empty_transform_is_fetched(home, put, server, placeholder):
    if placeholder is not None:
        put(TO_NINE, placeholder)
    assert find_transform(SIX, NINE) == home / TO_NINE
    assert server == [TO_NINE]


@pytest.mark.parametrize("placeholder", [None, b""])
def test_without_a_network_the_error_names_file_command_and_variable(put, offline, placeholder):
    if placeholder is not None:
        put(TO_NINE, placeholder)
    with pytest.raises(MissingResourceError, match="Network is unreachable") as caught:
        find_transform(SIX, NINE)
    assert caught.value.exit_code == 69
    for word in (TO_NINE, "`fmmtc-tools fetch templates`", "TEMPLATEFLOW_HOME"):
        assert word in str(caught.value)


def test_a_file_that_comes_empty_is_missing_too(home, monkeypatch):
    monkeypatch.setattr(templates, "_ask_templateflow", lambda file: None)
    with pytest.raises(MissingResourceError, match="the file is empty"):
        find_transform("Mine", NINE)


def test_a_templates_mask_is_taken_at_2_mm_before_1_mm(put, offline):
    put(MASKS[1], b"")
    assert find_template_mask(NINE) is None
    fine = put(f"tpl-{NINE}/tpl-{NINE}_res-01_desc-brain_mask.nii.gz")
    assert find_template_mask(NINE) == fine
    assert find_template_mask(NINE) == fine
    usual = put(MASKS[1])
    assert find_template_mask(NINE) == usual


def test_the_mask_of_a_cohort_is_that_of_no_other(put, offline):
    five = put("tpl-MNIInfant/cohort-5/tpl-MNIInfant_cohort-5_res-2_desc-brain_mask.nii.gz")
    assert find_template_mask("MNIInfant:cohort-2") is None
    assert find_template_mask("MNIInfant:cohort-5") == five


def test_a_mask_is_never_fetched_for_a_run(home, server):
    assert find_template_mask(SIX) is None
    assert server == []


def test_fetching_brings_both_directions_and_both_masks(home, put, server):
    put(TO_SIX)
    assert fetch_templates() == [home / name for name in (TO_NINE, TO_SIX, *MASKS)]
    assert server == [TO_NINE, *MASKS]


def test_the_command_says_where_each_file_is(home, server, capsys):
    assert main(["fetch", "templates"]) == 0
    expected = [f"templates: {home / name}" for name in (TO_NINE, TO_SIX, *MASKS)]
    assert capsys.readouterr().out.splitlines() == expected


def test_the_command_ends_with_69_without_a_network(home, offline, capsys):
    assert main(["fetch", "templates"]) == 69
    assert "Network is unreachable" in capsys.readouterr().err


def test_the_folder_is_templateflows_own(monkeypatch, tmp_path):
    monkeypatch.delenv("TEMPLATEFLOW_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert templateflow_home() == tmp_path / "templateflow"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert templateflow_home() == tmp_path / ".cache" / "templateflow"


@pytest.mark.network
def test_the_transforms_and_masks_can_be_fetched(home):
    assert all(path.stat().st_size > 1000 for path in fetch_templates())
