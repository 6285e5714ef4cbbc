"""Find completed work, so that a second run ends in seconds.

One small file for every run, or report, says what it was made from and what it left behind. Files
are known by their size and date: reading them again would take as long as the work.
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
    """Look at the sizes and dates of files.

    Look before the work starts: a file that changes meanwhile must not count as read.

    Parameters
    ----------
    paths
        Files, whether they exist or not; links are followed.
    """
    return {str(path): _stamp(path) for path in paths}


def _stamp(path: Path) -> list[int]:
    try:
        found = path.stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]


@dataclass(frozen=True)
class Ledger:
    """The finished work of one configuration in one workspace."""

    folder: Path
    """``finished`` in the plan's workspace; made with the first entry."""
    config_hash: str

    def is_finished(self, name: str, inputs: Stamps) -> bool:
        """Say whether something is done, from these inputs, and still there.

        Parameters
        ----------
        name
            Of a run or report, fit for a file name; with what the configuration hash leaves out,
            such as the label it is written under.
        inputs
            Of everything it reads, as `stamps` finds them now.

        Returns
        -------
        bool
            False after another configuration or version, with an input that is new, gone or
            changed, with an output that is gone or was touched, or for an entry that cannot be
            read.
        """
        entry = self._read(name)
        made_from = {key: entry.get(key) for key in ("version", "config_hash", "inputs")}
        return made_from == self._origin(inputs) and _is_there(entry)

    def is_whole(self, name: str) -> bool:
        """Say whether what was marked as finished is still there as it was.

        Parameters
        ----------
        name
            As given to `mark_finished`.
        """
        return _is_there(self._read(name))

    def mark_finished(self, name: str, inputs: Stamps, outputs: Sequence[Path]) -> None:
        """Write down that something is done.

        Parameters
        ----------
        name
            As given to `is_finished`.
        inputs
            As `stamps` found them before the work began.
        outputs
            Every file that was written.

        Raises
        ------
        OutputError
            When the entry cannot be written.
        """
        content = {**self._origin(inputs), "outputs": dict(stamps(outputs))}
        write_json(self._path(name), content)

    def forget(self, name: str) -> None:
        """Take back that something is done.

        Parameters
        ----------
        name
            As given to `mark_finished`; it need not be marked.
        """
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}_{self.config_hash}.json"

    def _origin(self, inputs: Stamps) -> dict[str, object]:
        return {"version": __version__, "config_hash": self.config_hash, "inputs": dict(inputs)}

    def _read(self, name: str) -> dict[str, object]:
        """Read an entry; an empty one where there is none, or it was cut."""
        try:
            entry = json.loads(self._path(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return entry if isinstance(entry, dict) else {}


def _is_there(entry: Mapping[str, object]) -> bool:
    """Say whether the outputs of an entry are, one and all, of the size and date they had."""
    outputs = entry.get("outputs")
    if not isinstance(outputs, dict) or not outputs:
        return False
    now = stamps([Path(path) for path in outputs])
    return outputs == now and all(now.values())
