"""Which runs the user asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fmmtc_bidsapp.records import Exclusion

__all__ = ["Query", "absent_participants", "identity", "run_title"]


@dataclass(frozen=True)
class Query:
    """Labels to keep, with or without their prefix; an empty list keeps all."""

    participants: Sequence[str]
    sessions: Sequence[str]
    tasks: Sequence[str]
    runs: Sequence[str]

    def admits(self, entities: Mapping[str, str]) -> bool:
        """Say whether a file with these entities is one of those asked for."""
        return all(
            not wanted or _normal(key, entities.get(key, "")) in wanted
            for key, wanted in self._wanted().items()
        )

    def participant_ids(self) -> list[str]:
        """List the participants asked for, with their prefix."""
        return [f"sub-{label}" for label in sorted(self._wanted()["sub"])]

    def __str__(self) -> str:
        parts = [
            f"{key} {' '.join(sorted(labels))}" for key, labels in self._wanted().items() if labels
        ]
        return ", ".join(parts) or "all"

    def _wanted(self) -> dict[str, set[str]]:
        lists = {
            "sub": self.participants,
            "ses": self.sessions,
            "task": self.tasks,
            "run": self.runs,
        }
        return {
            key: {_normal(key, label.removeprefix(f"{key}-")) for label in labels}
            for key, labels in lists.items()
        }


def _normal(key: str, label: str) -> str:
    # BIDS calls run an index: run-1 and run-01 are the same.
    return label.lstrip("0") if key == "run" else label


def absent_participants(
    root: Path, query: Query, found: Iterable[Mapping[str, str]]
) -> list[Exclusion]:
    """Exclude each participant of whom nothing was found.

    Parameters
    ----------
    root
        Root of the dataset that was looked through.
    query
        What was asked for; without participants, those that have a folder are looked for.
    found
        Entities of the files that were found.

    Returns
    -------
    list of Exclusion
        One per absent participant.
    """
    present = {identity(entities)[0] for entities in found}
    folders = (path.name for path in root.glob("sub-*") if path.is_dir())
    return [
        Exclusion(
            participant_id, None, "absent", f"nothing of theirs is there (asked for: {query})"
        )
        for participant_id in query.participant_ids() or sorted(folders)
        if participant_id not in present
    ]


def identity(entities: Mapping[str, str]) -> tuple[str, str | None]:
    """Name the participant and the session a file is of, ``sub-01`` and ``ses-1``."""
    session_id = f"ses-{entities['ses']}" if "ses" in entities else None
    return f"sub-{entities['sub']}", session_id


def run_title(entities: Mapping[str, str]) -> str:
    """Name a run within its participant and session, ``task-rest_run-1``."""
    return "_".join(f"{key}-{v}" for key, v in entities.items() if key not in ("sub", "ses"))
