"""Find the anatomical brain mask of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fmmtc_bidsapp.bidsio.files.annex import content_problem
from fmmtc_bidsapp.bidsio.files.names import ParsedName, anat_mask_patterns, parse_name, space_of
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import BoldRun

__all__ = ["with_anat_masks"]

_NOT_OF_THE_SCAN = ("space", "cohort", "res", "desc")
_IMAGES = (".nii", ".nii.gz")


@dataclass
class _Scan:
    """The masks that fMRIPrep wrote of one anatomical image in one space."""

    entities: Mapping[str, str]
    masks: dict[str | None, Path] = field(default_factory=dict)
    """By resolution."""


def with_anat_masks(runs: Sequence[BoldRun], root: Path) -> list[BoldRun]:
    """Return the runs with their participant's anatomical brain mask in the run's space.

    The mask of the run's session, else without session, else the only one; the run's resolution,
    else the first. None if several match or it has no content: the choice does not depend on which
    files were fetched.
    """
    # pybids looks at every surface and figure that lies beside the masks, which takes its time.
    places = {(run.participant_id, run.space) for run in runs}
    scans = {place: _scans(root, *place) for place in places}
    return [
        replace(run, anat_mask=_mask_of(run, scans[run.participant_id, run.space])) for run in runs
    ]


def _scans(root: Path, participant_id: str, space: str) -> list[_Scan]:
    found: dict[frozenset[tuple[str, str]], _Scan] = {}
    patterns = anat_mask_patterns(participant_id, space)
    for path in sorted(path for pattern in patterns for path in root.glob(pattern)):
        name = _brain_mask(path)
        if name is None or space_of(name.entities) != space:
            continue
        entities = {
            key: value for key, value in name.entities.items() if key not in _NOT_OF_THE_SCAN
        }
        scan = found.setdefault(frozenset(entities.items()), _Scan(entities))
        scan.masks.setdefault(name.entities.get("res"), path)
    return list(found.values())


def _brain_mask(path: Path) -> ParsedName | None:
    """Return the parsed name of a brain mask; None for any other file."""
    try:
        name = parse_name(path)
    except InputError:
        return None
    kind = (name.suffix, name.entities.get("desc"))
    return name if kind == ("mask", "brain") and name.extension in _IMAGES else None


def _mask_of(run: BoldRun, scans: Sequence[_Scan]) -> Path | None:
    scan = _choose(run.entities.get("ses"), scans)
    if scan is None:
        return None
    path = scan.masks.get(run.res) or next(iter(scan.masks.values()))
    return path if content_problem(path) is None else None


def _choose(session: str | None, scans: Sequence[_Scan]) -> _Scan | None:
    """Return the one scan of the session, else without session, else of the participant."""
    of_session = [scan for scan in scans if scan.entities.get("ses") == session]
    of_none = [scan for scan in scans if "ses" not in scan.entities]
    candidates = of_session or of_none or scans
    return candidates[0] if len(candidates) == 1 else None
