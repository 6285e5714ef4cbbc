"""Find completed work, so that a second run ends in seconds.

One small file per run or report records its inputs and outputs by size and date: reading them again
would take as long as the work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fmmtc_bidsapp._version import __version__
from fmmtc_bidsapp.bidsio.files.atomic import write_json

__all__ = ["Ledger", "Stamps", "stamps"]

Stamps = Mapping[str, Sequence[int]]
"""Size in bytes and date in ns of files by their path; empty for a file that is not there."""


def stamps(paths: Sequence[Path]) -> Stamps:
    """Return sizes in bytes and dates in ns of files by path; take them before the work starts."""
    return {str(path): _stamp(path) for path in paths}


def _stamp(path: Path) -> list[int]:
    try:
        found = path.stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]


@dataclass(frozen=True)
class Ledger:
    """The completed work of one configuration."""

    folder: Path
    """``finished`` in the plan's workspace; made with the first entry."""
    config_hash: str

    def is_finished(self, name: str, inputs: Stamps) -> bool:
        """Return whether ``name`` was completed from these inputs and its outputs are unchanged.

        ``name`` includes what the configuration hash leaves out, such as a label. An unreadable
        entry is not complete.
        """
        entry = self._read(name)
        recorded = {key: entry.get(key) for key in ("version", "config_hash", "inputs")}
        return recorded == self._origin(inputs) and _is_there(entry)

    def is_whole(self, name: str) -> bool:
        """Return whether the recorded outputs of ``name`` are unchanged."""
        return _is_there(self._read(name))

    def mark_finished(self, name: str, inputs: Stamps, outputs: Sequence[Path]) -> None:
        """Record ``name`` as complete, with stamps of its inputs and its outputs."""
        content = {**self._origin(inputs), "outputs": dict(stamps(outputs))}
        write_json(self._path(name), content)

    def forget(self, name: str) -> None:
        """Remove an entry, if there is one."""
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}_{self.config_hash}.json"

    def _origin(self, inputs: Stamps) -> dict[str, object]:
        return {"version": __version__, "config_hash": self.config_hash, "inputs": dict(inputs)}

    def _read(self, name: str) -> dict[str, object]:
        """Read an entry; empty if absent or damaged."""
        try:
            entry = json.loads(self._path(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return entry if isinstance(entry, dict) else {}


def _is_there(entry: Mapping[str, object]) -> bool:
    """Return whether all outputs of an entry have their recorded size and date."""
    outputs = entry.get("outputs")
    if not isinstance(outputs, dict) or not outputs:
        return False
    now = stamps([Path(path) for path in outputs])
    return outputs == now and all(now.values())
