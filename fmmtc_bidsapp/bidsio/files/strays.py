"""Find files whose names do not identify a run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fmmtc_bidsapp.bidsio.files.names import ParsedName, parse_run_name
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Exclusion

__all__ = ["Stray", "excluded_strays", "split_by_name"]

_PERSON = re.compile(r"sub-[0-9A-Za-z]+")
_PART = re.compile(r"([a-z]+)-(.+)")


@dataclass(frozen=True)
class Stray:
    """A file that belongs to no run."""

    path: Path
    reason: str

    @property
    def folder_id(self) -> str:
        """Participant folder of the file."""
        above = self.path.parent.parent
        return above.parent.name if above.name.startswith("ses-") else above.name

    @property
    def participant_id(self) -> str | None:
        """Participant, if name and folder agree; else None."""
        named = self.path.name.partition("_")[0]
        return named if named == self.folder_id and _PERSON.fullmatch(named) else None

    @property
    def entities(self) -> dict[str, str]:
        """Entities of the name that can be read."""
        parts = map(_PART.fullmatch, self.path.name.partition(".")[0].split("_"))
        return {part[1]: part[2] for part in parts if part is not None}

    def __str__(self) -> str:
        return f"{self.path} is ignored: {self.reason}"


def split_by_name(paths: Iterable[Path]) -> tuple[dict[Path, ParsedName], list[Stray]]:
    """Split files in ``func`` folders into those with a valid run name, parsed, and the others."""
    named: dict[Path, ParsedName] = {}
    strays: list[Stray] = []
    for path in paths:
        try:
            named[path] = parse_run_name(path)
        except InputError as error:
            strays.append(Stray(path, str(error).removesuffix(".")))
    return named, strays


def excluded_strays(strays: Iterable[Stray], stage: str) -> list[Exclusion]:
    """Return an exclusion of each stray file, for the participant of its folder."""
    return [
        Exclusion(stray.folder_id, None, stage, f"{stray}. Rename or move the file")
        for stray in strays
    ]
