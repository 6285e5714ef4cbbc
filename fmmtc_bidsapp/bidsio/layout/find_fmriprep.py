"""Find the folder with fMRIPrep's derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fmmtc_bidsapp.bidsio.files.names import dataset_description
from fmmtc_bidsapp.bidsio.files.origin import SIMULATOR, makers_of
from fmmtc_bidsapp.bidsio.files.sidecar import read_json
from fmmtc_bidsapp.errors import InputError, UsageError

__all__ = ["find_fmriprep"]

_HOW = "Give its path with --derivatives fmriprep=PATH."


def find_fmriprep(bids_dir: Path, derivatives: Mapping[str, Path]) -> Path:
    """Return the root of fMRIPrep's derivatives; UsageError if there is none or several.

    ``derivatives["fmriprep"]``, else ``bids_dir`` if fMRIPrep made it, else the one folder
    ``bids_dir/derivatives/fmriprep*``; in each case the subfolder ``fmriprep`` if that has the
    participants (versions before 21).
    """
    if "fmriprep" in derivatives:
        return _checked(derivatives["fmriprep"])
    if not bids_dir.is_dir():
        raise UsageError(f"Folder not found: {bids_dir}.")
    if _is_fmriprep(bids_dir):
        return _below_output(bids_dir)
    inside = [_below_output(folder) for folder in _below(bids_dir)]
    if len(inside) == 1:
        return inside[0]
    if inside:
        raise UsageError(f"{bids_dir} has several fMRIPrep folders: {_listed(inside)}. {_HOW}")
    if _below_output(bids_dir) != bids_dir:
        return _below_output(bids_dir)
    raise UsageError(
        f"{bids_dir} is not an fMRIPrep dataset and has no derivatives/fmriprep*. {_HOW}"
        + (_hint(bids_dir))
    )


def _checked(path: Path) -> Path:
    if not path.is_dir():
        raise UsageError(f"Folder not found: {path} (--derivatives fmriprep=).")
    path = _below_output(path)
    if _is_fmriprep(path) or _has_participants(path):
        return path
    raise UsageError(f"{path} has no fMRIPrep derivatives: no sub-* folders.{_hint(path)}")


def _below_output(folder: Path) -> Path:
    """Return the subfolder ``fmriprep/`` that older versions made beside ``freesurfer/``."""
    legacy = folder / "fmriprep"
    return legacy if _has_participants(legacy) and not _has_participants(folder) else folder


def _has_participants(folder: Path) -> bool:
    return any(path.is_dir() for path in folder.glob("sub-*"))


def _is_fmriprep(folder: Path) -> bool:
    path = dataset_description(folder)
    try:
        description = read_json(path)
    except InputError:
        # Without a readable description it is not known to be fMRIPrep's.
        return False
    names = [str(maker["Name"]).lower() for maker in makers_of(description)]
    # The simulator writes derivatives in fMRIPrep's layout, and a raw dataset around them.
    simulated = SIMULATOR in names and description.get("DatasetType") == "derivative"
    return "fmriprep" in names or simulated


def _below(bids_dir: Path) -> list[Path]:
    folders = sorted((bids_dir / "derivatives").glob("fmriprep*"))
    return [folder for folder in folders if folder.is_dir()]


def _hint(parent: Path) -> str:
    """Suggest the right folder if its parent, or the parent's parent, was given."""
    children = [child for child in sorted(parent.iterdir()) if child.is_dir()]
    right = [child for child in children if _is_fmriprep(child)]
    right += [folder for child in children for folder in _below(child)]
    return f" Did you mean {_listed(right)}?" if right else ""


def _listed(paths: list[Path]) -> str:
    return ", ".join(str(path) for path in paths)
