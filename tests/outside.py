"""Install the outside package into a folder, without a network and without a build."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

SOURCE = Path(__file__).with_name("outside_package")


def install_outside_package(folder: Path, version: str | None = None) -> Path:
    """Write the package and its dist-info into a folder, as pip would; returns it.

    Parameters
    ----------
    folder
        Goes onto PYTHONPATH.
    version
        Another version than its own.
    """
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    version = version or project["version"]
    shutil.copytree(SOURCE / "lab_fmri", folder / "lab_fmri")
    info = folder / f"lab_fmri-{version}.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {version}\n"
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items()), ""]
    info.joinpath("entry_points.txt").write_text("\n".join(lines))
    return folder
