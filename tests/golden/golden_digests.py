"""The digest of every file under a folder, free of dates, run ids, paths and prose.

Tables, weights and images count byte by byte; a JSON file by its values; pages and pictures by
their name. What is volatile or prose is declared in the tables below, and nowhere else.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAME_ONLY = (
    # Pages, pictures and prose.
    "*.html",
    "*.svg",
    "*.md",
    "*.bib",
    # Options with paths of this machine; their hash is part of other names.
    "*/plan.toml",
    # Sizes and dates of files, for the resumption of a run.
    "*/logs/finished/*",
    "*.lock",
)
"""Files of which only the name counts."""

RUN_ID = re.compile(r"\d{8}-\d{6}_[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
DATE = re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?")

VOLATILE_KEYS = re.compile(r"(?i)version|.*_version|.*versions|.*duration.*|elapsed.*|seconds")
"""Keys whose value is another on every machine or in every release."""

SALTED = {
    # Labels and scans of training people, as digests with a salt that is drawn anew.
    "people.json": ("people",),
    "config.json": ("sha256.people.json", "seal"),
}
"""By the name of a file: paths of keys whose values hang on a random salt."""

DATA_WITH_BLANKS = ("verdict",)
"""Keys whose value counts although it has blanks; any other text with a blank is prose."""

MOST_COLUMNS = 55
"""Columns are named of tables with so many at most: matrices with a column per parcel have more."""

Digests = Mapping[str, str]


def digest_folder(root: Path, place: Path | None = None) -> dict[str, str]:
    """Digest all files below a folder: by relative name the sha256's start and those of parts.

    Values may name the place, or by default the folder itself, which is no part of the digest.
    """
    paths = {
        path.relative_to(root).as_posix(): path
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
    spoken = _spoken_run_ids(list(paths))
    return {
        RUN_ID.sub(lambda found: spoken[found[0]], name): _digest(name, path, str(place or root))
        for name, path in paths.items()
    }


def _spoken_run_ids(names: list[str]) -> dict[str, str]:
    """Number the run ids of one output folder by their date."""
    found = {
        (name[: hit.start()].split("/")[0], hit[0])
        for name in names
        for hit in RUN_ID.finditer(name)
    }
    spoken: dict[str, str] = {}
    counts: dict[str, int] = {}
    for folder, run_id in sorted(found):
        counts[folder] = counts.get(folder, 0) + 1
        spoken[run_id] = f"RUN-{counts[folder]}"
    return spoken


def _digest(name: str, path: Path, place: str) -> str:
    if any(fnmatch.fnmatch(f"/{name}", pattern) for pattern in NAME_ONLY):
        return "name only"
    content, parts = path.read_bytes(), {}
    if path.suffix == ".json":
        values = _values(json.loads(content), (), path.name, place)
        content = _canonical(values)
        parts = {key: _canonical(values[key]) for key in sorted(values)}
    elif path.suffix == ".tsv":
        parts = _columns(content)
    words = [hashlib.sha256(content).hexdigest()[:16]]
    if path.suffix == ".json" or len(parts) <= MOST_COLUMNS:
        words += [
            f"{_one_word(key)}:{hashlib.sha256(part).hexdigest()[:4]}"
            for key, part in parts.items()
        ]
    return " ".join(words)


def _one_word(key: str) -> str:
    return re.sub(r"\s+", "_", key)


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _columns(content: bytes) -> dict[str, bytes]:
    rows = [line.split(b"\t") for line in content.splitlines()]
    if not rows or len({len(row) for row in rows}) > 1:
        return {}
    return {column[0].decode(): b"\n".join(column[1:]) for column in zip(*rows, strict=True)}


def _values(value: Any, keys: tuple[str, ...], file: str, place: str) -> Any:
    """Return a JSON value with everything volatile or prose replaced by a word."""
    if ".".join(keys) in SALTED.get(file, ()):
        return _shape(value)
    if keys and VOLATILE_KEYS.fullmatch(keys[-1]) and not isinstance(value, dict):
        return "VOLATILE"
    if isinstance(value, dict):
        return {key: _values(below, (*keys, key), file, place) for key, below in value.items()}
    if isinstance(value, list):
        return [_values(below, keys, file, place) for below in value]
    return _text(value, keys, place) if isinstance(value, str) else value


def _shape(value: Any) -> Any:
    """Keep keys and lengths, not values."""
    if isinstance(value, dict):
        return {key: _shape(below) for key, below in value.items()}
    return [_shape(below) for below in value] if isinstance(value, list) else "VOLATILE"


def _text(text: str, keys: tuple[str, ...], place: str) -> str:
    text = DATE.sub("DATE", RUN_ID.sub("RUN", text.replace(place, "PLACE")))
    prose = " " in text.strip() and not (keys and keys[-1] in DATA_WITH_BLANKS)
    return "PROSE" if prose else text


@dataclass(frozen=True)
class Difference:
    """How one file differs from what was recorded."""

    kind: str
    """``changed``, ``missing`` or ``new``."""
    name: str
    parts: tuple[str, ...] = field(default=())
    """Columns or keys that differ, where they are known."""

    def __str__(self) -> str:
        return f"{self.kind:<8} {self.name}" + (f": {', '.join(self.parts)}" if self.parts else "")


def differences(recorded: Digests, found: Digests) -> list[Difference]:
    """List the files that changed, are missing or are new, by name."""
    return list(_differences(recorded, found))


def _differences(recorded: Digests, found: Digests) -> Iterator[Difference]:
    for name in sorted({*recorded, *found}):
        if name not in found:
            yield Difference("missing", name)
        elif name not in recorded:
            yield Difference("new", name)
        elif recorded[name] != found[name]:
            yield Difference("changed", name, _changed_parts(recorded[name], found[name]))


def _changed_parts(recorded: str, found: str) -> tuple[str, ...]:
    before, now = _parts(recorded), _parts(found)
    if not (before and now):
        return ()
    changed = [key for key in now if key in before and before[key] != now[key]]
    gone = [f"{key} (gone)" for key in before if key not in now]
    return (*changed, *gone, *(f"{key} (new)" for key in now if key not in before))


def _parts(words: str) -> dict[str, str]:
    return dict(word.rsplit(":", 1) for word in words.split()[1:] if ":" in word)
