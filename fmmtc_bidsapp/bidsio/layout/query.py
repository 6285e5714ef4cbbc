"""The selection of runs by the user."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from fmmtc_bidsapp.bidsio.layout.filters import ANY
from fmmtc_bidsapp.bidsio.tables.person_ids import lookalike_ids
from fmmtc_bidsapp.records import Exclusion

__all__ = ["Query", "absent_participants", "identity", "run_title"]


_SHOWN = 8


@dataclass(frozen=True)
class Query:
    """Labels to keep, with or without prefix; an empty list keeps all."""

    participants: Sequence[str] = ()
    sessions: Sequence[str] = ()
    tasks: Sequence[str] = ()
    runs: Sequence[str] = ()
    filters: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    """Values of a filter file by short entity key, which must hold as well."""

    def admits(self, entities: Mapping[str, str]) -> bool:
        """Return whether a file with these entities is selected."""
        return all(_meets(key, entities.get(key), wanted) for key, wanted in self._wanted)

    def rules_out(self, entities: Mapping[str, str]) -> bool:
        """Return whether the known entities of a file suffice to exclude it."""
        known = ((key, wanted) for key, wanted in self._wanted if key in entities)
        return not all(_meets(key, entities[key], wanted) for key, wanted in known)

    def participant_ids(self) -> list[str]:
        """Return the selected participants with prefix; empty for all."""
        named = [wanted for key, wanted in self._wanted if key == "sub" and ANY not in wanted]
        labels = set.intersection(*map(set, named)) if named else set()
        return [f"sub-{label}" for label in sorted(filter(None, labels))]

    def __str__(self) -> str:
        return ", ".join(f"{key} {_listed(wanted)}" for key, wanted in self._wanted) or "all"

    def instead(self, found: Iterable[Mapping[str, str]]) -> str:
        """Describe existing labels in place of the selected ones: ``; there is ses-01``, or empty.

        Participants are named only if their id is similar to a selected one.
        """
        files = list(found)
        parts = [
            f"{key}-{_listed(sorted(there))}"
            for key, wanted in self._wanted
            if key != "sub" and not any(_meets(key, each.get(key), wanted) for each in files)
            if (there := {each[key] for each in files if key in each})
        ]
        ids = {identity(each)[0] for each in files}
        like = lookalike_ids([each for each in self.participant_ids() if each not in ids], ids)
        parts += [_listed(list(like.values()))] if like else []
        return f"; there is {', '.join(parts)}" if parts else ""

    @cached_property
    def _wanted(self) -> list[tuple[str, dict[str | None, None]]]:
        """Selected values by entity, of which all must match."""
        lists = [
            ("sub", self.participants),
            ("ses", self.sessions),
            ("task", self.tasks),
            ("run", self.runs),
            *self.filters.items(),
        ]
        return [
            (key, dict.fromkeys(_normal(key, each) for each in labels))
            for key, labels in lists
            if labels
        ]


def _listed(labels: Collection[str | None]) -> str:
    """Return labels in one line, shortened if there are many."""
    shown = ["(absent)" if each is None else each for each in list(labels)[:_SHOWN]]
    more = [f"… ({len(labels)} in all)"] if len(labels) > _SHOWN else []
    return " ".join([*shown, *more])


def _meets(key: str, value: str | None, wanted: Collection[str | None]) -> bool:
    return _normal(key, value) in wanted or (value is not None and ANY in wanted)


def _normal(key: str, label: str | None) -> str | None:
    if label is None:
        return None
    bare = label.removeprefix(f"{key}-")
    # BIDS calls run an index: run-1 and run-01 are the same.
    return bare.lstrip("0") or bare[:1] if key == "run" else bare


def absent_participants(
    root: Path,
    query: Query,
    found: Iterable[Mapping[str, str]],
    passed_over: Iterable[Mapping[str, str]] = (),
) -> list[Exclusion]:
    """Return an exclusion of each selected participant without files.

    Without a selection the folders of ``root`` count. ``passed_over`` has the entities of files
    that were not selected, for the reason.
    """
    present = {identity(entities)[0] for entities in found}
    others: defaultdict[str, list[Mapping[str, str]]] = defaultdict(list)
    for entities in passed_over:
        others[identity(entities)[0]].append(entities)
    folders = sorted(path.name for path in root.glob("sub-*") if path.is_dir())
    asked = query.participant_ids()
    like = lookalike_ids([each for each in asked if each not in present], folders)
    return [
        Exclusion(
            participant_id,
            None,
            "absent",
            f"no files found (selected: {query}"
            f"{query.instead(others[participant_id])})"
            + (f"; there is {like[participant_id]}" if participant_id in like else ""),
        )
        for participant_id in asked or folders
        if participant_id not in present
    ]


def identity(entities: Mapping[str, str]) -> tuple[str, str | None]:
    """Return participant and session of a file, ``sub-01`` and ``ses-1``."""
    session_id = f"ses-{entities['ses']}" if "ses" in entities else None
    return f"sub-{entities['sub']}", session_id


def run_title(entities: Mapping[str, str]) -> str:
    """Return the name of a run within participant and session, ``task-rest_run-1``."""
    return "_".join(f"{key}-{v}" for key, v in entities.items() if key not in ("sub", "ses"))
