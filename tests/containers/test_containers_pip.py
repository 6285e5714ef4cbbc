"""A build in a container takes its packages from where pip on this machine does."""

from __future__ import annotations

from pathlib import Path

from pip_configuration import folders, settings


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
