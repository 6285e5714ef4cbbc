"""A build in a container takes its packages from where pip on this machine does."""

from __future__ import annotations

from pathlib import Path

import pytest
from pip_configuration import carried, folders, main, settings


def test_a_variable_wins_over_a_file_and_other_commands_are_left_out() -> None:
    listing = ":env:.timeout='9'\nglobal.timeout='3'\nfreeze.timeout='5'\ninstall.pre='true'"
    assert settings(listing) == {"timeout": "9", "pre": "true"}


def test_folders_of_the_machine_are_found_and_addresses_are_not(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "index" / "simple").mkdir(parents=True)
    found = {
        "find-links": f"{tmp_path}/wheels /nonexistent/wheels",
        "extra-index-url": f"https://pypi.org/simple file://{tmp_path}/index/simple",
    }
    assert folders(found) == [f"{tmp_path}/wheels", f"{tmp_path}/index"]


def test_settings_that_name_files_of_the_machine_do_not_come_along() -> None:
    found = {
        "constraint": "pins.txt",
        "requirement": "/home/me/needed.txt",
        "log": "~/pip.log",
        "user": "true",
        "index-url": "https://pypi.org/simple",
        "find-links": "/wheels",
        "timeout": "60",
    }
    kept, left_out = carried(found)
    assert set(kept) == {"index-url", "find-links", "timeout"}
    assert set(left_out) == {"constraint", "requirement", "log", "user"}


def test_a_constraints_file_of_the_environment_is_told_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pins = tmp_path / "pins.txt"
    pins.write_text("numpy<3\n")
    monkeypatch.setenv("PIP_CONSTRAINT", str(pins))
    monkeypatch.setenv("PIP_TIMEOUT", "77")
    main(tmp_path / "pip.conf")
    text = (tmp_path / "pip.conf").read_text()
    assert "timeout = 77" in text
    assert "pins.txt" not in text
    assert f"constraint = {pins}" in capsys.readouterr().err
