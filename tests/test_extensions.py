"""Entry points of other packages: listed without their code, refused where they cannot be meant."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fmmtc_bidsapp.errors import MissingResourceError, UsageError
from fmmtc_bidsapp.extensions import Registry, outside

GROUP = "fmmtc.networks"
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution of one module: entry points by name, and the module's source."""

    def write(name: str, points: dict[str, str], source: str = "", version: str = "1.2") -> Path:
        site = tmp_path / name
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        info.joinpath("METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        lines = [f"{each} = {value}" for each, value in points.items()]
        info.joinpath("entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]))
        module = name.replace("-", "_")
        site.joinpath(f"{module}.py").write_text(source)
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.delitem(sys.modules, module, raising=False)
        return site

    return write


def test_entries_of_other_packages_follow_our_own_and_are_imported_when_asked_for(install):
    install("lab-fmri", {"seven": "lab_fmri:SEVEN"}, "SEVEN = 7\n")
    table = Registry(GROUP, {"one": 1}, int)

    assert list(table) == ["one", "seven"]
    assert "seven" in table
    assert len(table) == 2
    assert "lab_fmri" not in sys.modules
    assert dict(table) == {"one": 1, "seven": 7}
    extension = table.extension("seven")
    assert extension is not None
    assert extension.requirement == "lab-fmri==1.2"
    assert table.extension("one") is None


def test_an_unknown_name_is_a_key_error_as_of_any_table(install):
    install("lab-fmri", {"seven": "lab_fmri:SEVEN"}, "SEVEN = 7\n")

    with pytest.raises(KeyError):
        Registry(GROUP, {"one": 1}, int)["two"]


def test_a_name_of_ours_is_refused_with_the_package_that_took_it_and_no_other_name_is(install):
    install("lab-fmri", {"one": "lab_fmri:ONE", "two": "lab_fmri:TWO"}, "ONE, TWO = 11, 2\n")
    table = Registry(GROUP, {"one": 1, "three": 3}, int)

    assert list(table) == ["one", "three", "two"]
    assert (table["two"], table["three"]) == (2, 3)
    with pytest.raises(UsageError, match=r"by this program and by lab-fmri 1\.2"):
        table["one"]


def test_a_name_of_two_packages_is_refused_with_both(install):
    install("lab-fmri", {"seven": "lab_fmri:SEVEN"}, "SEVEN = 7\n")
    install("other-lab", {"seven": "other_lab:SEVEN"}, "SEVEN = 70\n", version="0.3")

    with pytest.raises(UsageError, match=r"by lab-fmri 1\.2 and by other-lab 0\.3"):
        Registry(GROUP, {}, int)["seven"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import a_module_that_is_not_there\n", "No module named 'a_module_that_is_not_there'"),
        ("raise RuntimeError('no licence')\n", "RuntimeError: no licence"),
        ("EIGHT = 8\n", "AttributeError"),
        ("SEVEN = 'seven'\n", "is of type str, needed is int"),
    ],
)
def test_a_package_that_cannot_be_loaded_is_named_with_the_reason(install, source, said):
    install("lab-fmri", {"seven": "lab_fmri:SEVEN"}, source)
    table = Registry(GROUP, {"one": 1}, int)

    assert table["one"] == 1
    with pytest.raises(MissingResourceError) as found:
        table["seven"]
    assert said in str(found.value)
    assert "'seven' (fmmtc.networks) of lab-fmri 1.2" in str(found.value)
    assert "uninstall lab-fmri" in str(found.value)


def test_a_data_file_is_found_in_the_package_and_a_missing_one_is_refused(install):
    site = install("lab-fmri", {"seven": "lab_data"})
    site.joinpath("lab_data").mkdir()
    site.joinpath("lab_data", "__init__.py").touch()
    site.joinpath("lab_data", "seven.yml").write_text("name: seven\n")
    (extension,) = outside(GROUP)

    assert extension.file("seven.yml").read_text() == "name: seven\n"
    with pytest.raises(MissingResourceError, match=r"has no file eight\.yml"):
        extension.file("eight.yml")


def test_listing_what_is_installed_imports_nothing_heavy():
    code = (
        "import sys; from fmmtc_bidsapp.extensions import outside; outside('fmmtc.networks'); "
        "print(sorted({'numpy', 'torch', 'nipype', 'pandas'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"
