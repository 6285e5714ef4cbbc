"""``fmmtc-tools check``: whether a run can start here, and what is missing.

Nothing is fetched, and no file stays.
"""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from fmmtc_bidsapp._version import __version__
from fmmtc_bidsapp.bidsio.atlases import a424
from fmmtc_bidsapp.bidsio.atlases.a424 import cache_dir
from fmmtc_bidsapp.bidsio.atlases.templates import links_of_templates, templateflow_home
from fmmtc_bidsapp.bidsio.files.annex import content_problem
from fmmtc_bidsapp.errors import AppError, MissingResourceError, OutputError
from fmmtc_bidsapp.machine import cores, memory_bytes
from fmmtc_bidsapp.models.checksums import check_received
from fmmtc_bidsapp.models.encoders.brainlm.spec import BRAINLM
from fmmtc_bidsapp.tools.fetch import templates_record
from fmmtc_bidsapp.tools.weights import weights_dir
from fmmtc_bidsapp.visible import visible

__all__ = ["Finding", "check", "findings"]

_DISTRIBUTION = "fmmtc-bidsapp"
_LEAST_GB = 2.0
"""Memory, and space on a disk, below which a run is likely to fail."""
_CACHE = "cache folder"
_WAYS_OUT = {_CACHE: "needed for fetching only: set FMMTC_CACHE_DIR to another"}


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    what: str
    found: str
    to_do: str = ""
    """Empty if all is well."""
    exit_code: int = 0
    """Exit code of a run; 0 if it could start all the same."""


def check(folders: Mapping[str, Path]) -> int:
    """Print what a run needs and what is missing; return the exit code.

    It is 0 if a participant run can start, 69 if something must be fetched or installed first, 73
    if one of the folders, given by their title, cannot be written.
    """
    found = findings(folders)
    _print(found)
    return max(each.exit_code for each in found)


def findings(folders: Mapping[str, Path]) -> list[Finding]:
    """Return all findings, in the order of the table."""
    return [
        Finding("fmmtc_bidsapp", __version__),
        _python(),
        *_packages(),
        _cores(),
        _memory(),
        _gpu(),
        _atlas(),
        _templates(),
        _weights(),
        _folder(_CACHE, cache_dir(), 0),
        *(_folder(f"{name} folder", path, OutputError.exit_code) for name, path in folders.items()),
    ]


def _print(found: list[Finding]) -> None:
    # Here, because it takes long to import.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("what", "found", "", box=None, padding=(0, 2, 0, 0))
    for each in found:
        state = Text(f"missing: {each.to_do}" if each.exit_code else each.to_do or "ok")
        # Text, so that brackets in a path are not read as markup.
        table.add_row(Text(each.what), Text(visible(each.found), overflow="fold"), state)
    # Colours are control characters, which guarded streams escape.
    Console(file=getattr(sys.stdout, "beneath", sys.stdout), soft_wrap=False).print(table)


def _python() -> Finding:
    found, needed = platform.python_version(), SpecifierSet(">=3.11")
    if needed.contains(found):
        return Finding("Python", found)
    return Finding("Python", found, f"Python {needed} is needed", MissingResourceError.exit_code)


def _packages() -> Iterator[Finding]:
    """Compare installed versions with those that this version needs."""
    try:
        asked = [Requirement(each) for each in metadata.requires(_DISTRIBUTION) or ()]
    except metadata.PackageNotFoundError:
        yield Finding("packages", "not installed as a package", "versions not compared")
        return
    needed = [each for each in asked if each.marker is None or each.marker.evaluate({"extra": ""})]
    problems = [problem for each in needed if (problem := _package_problem(each)) is not None]
    yield from problems
    if not problems:
        yield Finding("packages", f"{len(needed)}, all in the needed versions")


def _package_problem(needed: Requirement) -> Finding | None:
    try:
        found = metadata.version(needed.name)
    except metadata.PackageNotFoundError:
        found = "absent"
    if found != "absent" and needed.specifier.contains(found, prereleases=True):
        return None
    to_do = f"pip install '{needed.name}{needed.specifier}'"
    return Finding(needed.name, found, to_do, MissingResourceError.exit_code)


def _cores() -> Finding:
    return Finding("processors", f"{cores():g}")


def _memory() -> Finding:
    limit_gb = memory_bytes() / 1e9
    to_do = "" if limit_gb >= _LEAST_GB else f"a run needs {_LEAST_GB:g} GB"
    return Finding("memory", f"{limit_gb:.1f} GB", to_do)


def _gpu() -> Finding:
    try:
        import torch
    except (ImportError, OSError) as error:
        # Its absence is reported with the packages, libraries that it cannot load are here.
        return Finding("GPU", f"torch cannot be imported ({type(error).__name__})", "install torch")
    driver = _driver()
    if not torch.cuda.is_available():
        built = f"torch {torch.__version__}, {driver or 'no driver'}"
        return Finding("GPU", f"none ({built})", "optional: docker --gpus all, apptainer --nv")
    names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    return Finding("GPU", f"{', '.join(names)} (CUDA {torch.version.cuda}, {driver})")


def _driver() -> str:
    """Return the version of the NVIDIA driver; empty without one."""
    path = Path("/proc/driver/nvidia/version")
    if not path.is_file():
        return ""
    words = path.read_text(encoding="utf-8", errors="replace").split()
    return "driver " + next((each for each in words if each[:1].isdigit()), "unknown")


def _atlas() -> Finding:
    folder = a424.a424_dir()
    code = MissingResourceError.exit_code
    try:
        a424.check_files(folder)
        dlabel = a424.check_dlabel(folder)
    except MissingResourceError:
        return Finding("A424 atlas", f"not in {folder}", "fmmtc-tools fetch atlas", code)
    except AppError as error:
        return Finding("A424 atlas", str(error), "fmmtc-tools fetch atlas", code)
    except OSError as error:
        return Finding("A424 atlas", f"{folder}: {error.strerror}", "make it readable", code)
    to_do = "" if dlabel else "for CIFTI series: fmmtc-tools fetch atlas"
    return Finding("A424 atlas", str(folder), to_do)


def _templates() -> Finding:
    what, home = "templates", templateflow_home()
    to_do = "for images in MNI152NLin2009cAsym: fmmtc-tools fetch templates"
    absent = [path for path in links_of_templates() if content_problem(path) is not None]
    if absent:
        return Finding(what, f"{len(absent)} of 4 are not in {home}", to_do)
    try:
        check_received(templates_record(), home)
    except AppError as error:
        return Finding(what, str(error), to_do)
    return Finding(what, str(home))


def _weights() -> Finding:
    what, folder = f"{BRAINLM.title} weights", weights_dir(BRAINLM)
    to_do = "for the pre-trained encoder: fmmtc-tools fetch brainlm"
    if any(content_problem(folder / name) is not None for name in BRAINLM.files):
        return Finding(what, f"not in {folder}", to_do)
    try:
        record = check_received(folder)
    except AppError as error:
        return Finding(what, str(error), to_do)
    revision = "copied by hand" if record is None else f"revision {record.revision[:12]}"
    return Finding(what, f"{folder}, {revision}")


def _folder(what: str, path: Path, code: int) -> Finding:
    """Try to write into a folder, or into the one in which it would be made."""
    path = path.absolute()
    try:
        there = next(each for each in (path, *path.parents) if each.exists())
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"fmmtc")
        free_gb = shutil.disk_usage(there).free / 1e9
    except OSError as error:
        return Finding(
            what, f"{path}: {error.strerror}", _WAYS_OUT.get(what, "choose another"), code
        )
    to_do = "" if free_gb >= _LEAST_GB else f"nearly full; make room for {_LEAST_GB:g} GB"
    state = "" if there == path else ", will be made"
    return Finding(what, f"{path} ({free_gb:.0f} GB free{state})", to_do)
