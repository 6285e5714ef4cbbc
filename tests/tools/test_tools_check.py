"""The look around: what is there, what is missing, and which command mends it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from faults.survival import without_privilege

from fmmtc_bidsapp.bidsio.atlases import a424
from fmmtc_bidsapp.bidsio.atlases.templates import links_of_templates
from fmmtc_bidsapp.cli.tools import main
from fmmtc_bidsapp.models.encoders.brainlm.spec import BRAINLM
from fmmtc_bidsapp.tools import check
from fmmtc_bidsapp.tools.check import Finding, findings
from fmmtc_bidsapp.tools.weights import weights_dir


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FMMTC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "templateflow"))
    monkeypatch.setenv("COLUMNS", "250")
    return tmp_path / "cache"


@pytest.fixture
def atlas(cache: Path, shared: Path) -> Path:
    folder = cache / "atlas" / "A424"
    folder.mkdir(parents=True)
    for name in (*a424.SHA256, a424.DLABEL):
        shutil.copyfile(shared / "data" / "atlas" / name, folder / name)
    return folder


def _finding(what: str, folders: dict[str, Path] | None = None) -> Finding:
    return next(each for each in findings(folders or {}) if each.what == what)


def test_with_an_atlas_and_places_to_write_a_run_could_start(
    atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    words = ["check", "--output-dir", tmp_path / "out", "--work-dir", tmp_path / "work"]
    assert main([str(word) for word in words]) == 0
    table = capsys.readouterr().out
    for word in (str(atlas), "Python", "processors", "memory", "GPU", "output folder", "ok"):
        assert word in table
    assert sorted(tmp_path.rglob("*")) == before


def test_without_an_atlas_the_command_that_fetches_it_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--work-dir", str(tmp_path)]) == 69
    assert "missing: fmmtc-tools fetch atlas" in capsys.readouterr().out


def test_a_changed_atlas_is_not_taken_for_the_atlas(atlas: Path) -> None:
    (atlas / a424.COORDINATES).write_text("1 0 0 0\n")
    found = _finding("A424 atlas")
    assert found.exit_code == 69
    assert "is not the expected" in found.found


def test_templates_and_weights_are_missed_without_keeping_a_run_from_starting() -> None:
    for what, command in (
        ("templates", "fmmtc-tools fetch templates"),
        ("BrainLM weights", "fmmtc-tools fetch brainlm"),
    ):
        found = _finding(what)
        assert found.exit_code == 0
        assert command in found.to_do


def test_templates_and_weights_that_are_there_are_well() -> None:
    weights = [weights_dir(BRAINLM) / name for name in ("config.json", "pytorch_model.bin")]
    for path in (*links_of_templates(), *weights):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("content")
    assert _finding("templates").to_do == ""
    assert _finding("BrainLM weights").to_do == ""
    assert "copied by hand" in _finding("BrainLM weights").found


def test_a_folder_that_cannot_be_made_ends_with_73(atlas: Path, tmp_path: Path) -> None:
    # A file where a folder is needed refuses root too.
    blocked = tmp_path / "file" / "out"
    blocked.parent.write_text("")
    assert main(["check", "--output-dir", str(blocked), "--work-dir", str(tmp_path)]) == 73


@pytest.mark.parametrize("mode", [0o000, 0o500], ids=["not to be entered", "read-only"])
def test_a_folder_without_permission_ends_with_73(atlas: Path, tmp_path: Path, mode: int) -> None:
    (tmp_path / "out").mkdir(mode=mode)
    words = ["check", "--output-dir", tmp_path / "out" / "a", "--work-dir", tmp_path]
    code, told = _as_anyone(words)
    assert code == 73, told
    assert "Permission denied" in told


def _as_anyone(words: list[str | Path]) -> tuple[int, str]:
    """Run the command so that permissions hold for it, also for root."""
    code = "import sys; from fmmtc_bidsapp.cli.tools import main; sys.exit(main(sys.argv[1:]))"
    command = [*without_privilege(), sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_folder_with_brackets_is_shown_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["check", "--work-dir", str(tmp_path / "[red]work[/red]")])
    assert "[red]work[/red]" in capsys.readouterr().out


def test_a_package_of_another_version_is_named_with_what_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = ["numpy>=999", "no-such-package-of-ours>=2", "pytest>=999; extra == 'test'", "rich>=1"]
    monkeypatch.setattr(metadata, "requires", lambda name: asked)
    wrong = {each.what: each for each in findings({}) if "pip install" in each.to_do}
    assert set(wrong) == {"numpy", "no-such-package-of-ours"}
    assert wrong["numpy"].to_do == "pip install 'numpy>=999'"
    assert wrong["no-such-package-of-ours"].found == "absent"
    assert {each.exit_code for each in wrong.values()} == {69}


def test_an_older_python_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check.platform, "python_version", lambda: "3.10.4")
    assert _finding("Python").exit_code == 69
