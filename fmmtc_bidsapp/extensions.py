"""What other packages add: entry points, listed without running code, imported when used."""

from __future__ import annotations

import importlib.resources
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.resources.abc import Traversable
from typing import Generic, TypeVar

from fmmtc_bidsapp.errors import MissingResourceError, UsageError

__all__ = ["ENCODERS", "MODALITIES", "NETWORKS", "STRATEGIES", "Extension", "Registry", "outside"]

ENCODERS = "fmmtc.encoders"
MODALITIES = "fmmtc.modalities"
NETWORKS = "fmmtc.networks"
STRATEGIES = "fmmtc.strategies"
"""Groups of entry points that are read."""

T = TypeVar("T")


@dataclass(frozen=True)
class Extension:
    """One entry point of an installed distribution."""

    entry: EntryPoint
    distribution: str
    version: str

    @property
    def name(self) -> str:
        """As flags and tables spell it."""
        return self.entry.name

    @property
    def title(self) -> str:
        """What errors call it, such as ``'noise' (fmmtc.networks) of lab-fmri 1.2``."""
        return f"{self.name!r} ({self.entry.group}) of {self.distribution} {self.version}"

    @property
    def requirement(self) -> str:
        """What pip installs, ``lab-fmri==1.2``."""
        return f"{self.distribution}=={self.version}"

    def load(self, kind: type[T]) -> T:
        """Import what the entry point names.

        Raises
        ------
        MissingResourceError
            When it cannot be imported, or is no `kind`.
        """
        try:
            loaded = self.entry.load()
        except Exception as error:
            raise self._broken(error) from error
        if not isinstance(loaded, kind):
            raise MissingResourceError(
                f"{self.title} cannot be used: {self.entry.value} is of type "
                f"{type(loaded).__name__}, needed is {kind.__name__}. {self._way_out()}"
            )
        return loaded

    def file(self, name: str) -> Traversable:
        """Find a data file in the package that the entry point names.

        Raises
        ------
        MissingResourceError
            When there is no such package or file.
        """
        try:
            found = importlib.resources.files(self.entry.module).joinpath(name)
        except Exception as error:
            raise self._broken(error) from error
        if not found.is_file():
            raise MissingResourceError(
                f"{self.title} cannot be used: its package {self.entry.module} has no file {name}. "
                f"{self._way_out()}"
            )
        return found

    def _broken(self, error: Exception) -> MissingResourceError:
        return MissingResourceError(
            f"{self.title} cannot be loaded from {self.entry.value} ({type(error).__name__}: "
            f"{error}). {self._way_out()}"
        )

    def _way_out(self) -> str:
        return f"Repair or uninstall {self.distribution}, or choose another name."


def outside(group: str) -> tuple[Extension, ...]:
    """List what other packages register in a group, by name; no code of theirs is run.

    Parameters
    ----------
    group : str
        A group of entry points.

    Returns
    -------
    tuple of Extension
        A name twice where two distributions register it.
    """
    return _listed(group, tuple(sys.path))


@cache
def _listed(group: str, path: tuple[str, ...]) -> tuple[Extension, ...]:
    found = [
        Extension(each, each.dist.name, each.dist.version)
        for each in entry_points(group=group)
        if each.dist is not None
    ]
    return tuple(sorted(found, key=lambda each: (each.name, each.distribution)))


class Registry(Mapping[str, T], Generic[T]):
    """A table of this program's own entries, followed by those of other packages.

    Iterating and ``in`` run no code of others; an entry of theirs is imported when it is asked for.

    Parameters
    ----------
    group : str
        Group of entry points.
    own : mapping
        This program's entries.
    kind : type
        What an outside entry must be.

    Examples
    --------
    >>> table = Registry("fmmtc.colours", {"red": 1}, int)
    >>> list(table), table["red"], table.extension("red")
    (['red'], 1, None)
    """

    def __init__(self, group: str, own: Mapping[str, T], kind: type[T]) -> None:
        self.group = group
        self.own = own
        self.kind = kind

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self.own, *(each.name for each in outside(self.group))]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in list(iter(self))

    def __getitem__(self, name: str) -> T:
        """Return an entry.

        Raises
        ------
        KeyError
            For an unknown name.
        UsageError
            When several packages, or a package and this program, have the name.
        MissingResourceError
            When the package cannot be loaded.
        """
        extension = self.extension(name)
        return self.own[name] if extension is None else extension.load(self.kind)

    def extension(self, name: str) -> Extension | None:
        """Say which package an entry comes from; None for this program's own and unknown names.

        Raises
        ------
        UsageError
            As `__getitem__`.
        """
        found = [each for each in outside(self.group) if each.name == name]
        holders = [f"{each.distribution} {each.version}" for each in found]
        if name in self.own:
            holders.insert(0, "this program")
        if len(holders) > 1:
            raise UsageError(
                f"{name!r} ({self.group}) is registered by {' and by '.join(holders)}; a "
                "name must be unique. Uninstall one of the packages, or rename its entry."
            )
        return found[0] if found else None
