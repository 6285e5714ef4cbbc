"""Distinguish files that are runs, and describe which runs are averaged."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

from fmmtc_bidsapp.bidsio.files.names import ENTITY_ORDER
from fmmtc_bidsapp.bidsio.layout.query import identity
from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.records import Person

__all__ = [
    "averaged_runs",
    "merged_runs",
    "notes_on_acquisitions",
    "refuse_duplicate_scans",
    "refuse_mixed_tasks",
]

Entities = Mapping[str, str]

_MERGED_OVER = ("run", "dir")
"""Entities that XCP-D leaves out of the name of a concatenated run, and we of a combined matrix."""

_VERSIONS = frozenset(
    {"space", "cohort", "res", "den", "hemi", "echo", "part", "rec", "proc", "mod"}
    | {"seg", "scale", "label", "stat", "meas"}
)
"""Entities by which files of one and the same scan differ."""

_NOT_OF_RUN = _VERSIONS | {"sub", "ses", "atlas", "desc"}
_UNLIKE = ("task", "acq", "ce", "dir")
"""Entities of scans that were made in different ways."""
_SHOWN = 8


def merged_runs(found: Sequence[Entities]) -> list[bool]:
    """Return per file whether its name is that of two or more others without ``run`` or ``dir``."""
    parts = Counter(whole for entities in found for whole in _wholes(entities))
    return [parts[frozenset(entities.items())] > 1 for entities in found]


def _wholes(entities: Entities) -> list[frozenset[tuple[str, str]]]:
    """Return the possible names of a file over this and other runs."""
    there = [key for key in _MERGED_OVER if key in entities]
    return [
        frozenset(item for item in entities.items() if item[0] not in left_out)
        for n in range(1, len(there) + 1)
        for left_out in combinations(there, n)
    ]


def refuse_mixed_tasks(found: Iterable[Entities], asked: Sequence[str]) -> None:
    """Raise UsageError for several tasks without a choice, since runs are averaged."""
    people: defaultdict[str, set[str]] = defaultdict(set)
    for entities in found:
        people[entities.get("task", "(none)")].add(entities["sub"])
    if asked or len(people) < 2:
        return
    counts = ", ".join(f"{task}: {len(own)}" for task, own in sorted(people.items()))
    raise UsageError(
        f"There are several tasks (participants of each: {counts}). The runs of a participant are "
        "averaged. Choose one or more tasks to average with --task-id."
    )


def refuse_duplicate_scans(found: Iterable[Entities]) -> None:
    """Raise UsageError for a scan in several resolutions, echoes or the like."""
    versions: defaultdict[frozenset[tuple[str, str]], list[Entities]] = defaultdict(list)
    for entities in found:
        scan = frozenset(item for item in entities.items() if item[0] not in _VERSIONS)
        versions[scan].append(entities)
    for scan, own in versions.items():
        if len(own) > 1:
            title = "_".join(f"{key}-{value}" for key, value in _in_order(dict(scan)))
            raise UsageError(
                f"{title} exists {len(own)} times, as {_differences(own)}: one scan, which would "
                "be counted more than once. Keep only one of them in the folder."
            )


def _in_order(entities: Entities) -> list[tuple[str, str]]:
    return sorted(entities.items(), key=lambda item: ENTITY_ORDER.index(item[0]))


def _differences(own: Sequence[Entities]) -> str:
    keys = [key for key in ENTITY_ORDER if len({each.get(key) for each in own}) > 1]
    return " and ".join(
        " ".join(f"{key}-{each[key]}" if key in each else f"no {key}-" for key in keys)
        for each in own[:_SHOWN]
    )


def averaged_runs(people: Sequence[Person]) -> str:
    """Describe which runs of a participant are averaged; empty if everyone has one."""
    if all(len(person.runs) == 1 for person in people):
        return ""
    kinds = Counter(
        " + ".join(_run_title(run.entities) for run in person.runs) for person in people
    )
    listed = "; ".join(f"{n}: {kind}" for kind, n in kinds.most_common(_SHOWN))
    more = f"; and {len(kinds) - _SHOWN} other combinations" if len(kinds) > _SHOWN else ""
    return f"The runs of a participant are averaged (participants per combination: {listed}{more})."


def notes_on_acquisitions(people: Sequence[Person]) -> list[str]:
    """Return notes on averaged runs with different acquisitions."""
    notes = []
    for key in _UNLIKE:
        unlike = [
            person for person in people if len({run.entities.get(key) for run in person.runs}) > 1
        ]
        if unlike:
            values = sorted(
                {run.entities.get(key, "none") for person in unlike for run in person.runs}
            )
            notes.append(
                f"runs with different {key}- ({', '.join(values)}) are averaged in {len(unlike)} "
                f"of {len(people)} participants"
            )
    return notes


def _run_title(entities: Entities) -> str:
    own = [f"{key}-{value}" for key, value in entities.items() if key not in _NOT_OF_RUN]
    return "_".join(own) or "_".join(filter(None, identity(entities)))
