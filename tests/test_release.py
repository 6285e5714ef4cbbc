"""One version everywhere: the program, its citation, its descriptor, its changelog, its tag."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from fmmtc_bidsapp import __version__
from fmmtc_bidsapp.cli.main import main

ROOT = Path(__file__).resolve().parents[1]


def test_the_command_says_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"fmmtc {__version__}\n"


def test_citation_descriptor_and_changelog_have_the_version() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__
    assert json.loads((ROOT / "fmmtc.json").read_text())["tool-version"] == __version__
    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert first is not None
    assert first[1] == __version__


def test_a_tag_of_this_commit_is_the_version() -> None:
    words = ["git", "-C", str(ROOT), "tag", "--points-at", "HEAD", "v*"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode or not done.stdout.strip():
        pytest.skip("this commit has no tag")
    assert f"v{__version__}" in done.stdout.split()
