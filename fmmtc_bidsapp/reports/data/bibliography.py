"""References cited by the methods text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = [
    "Reference",
    "boilerplate_dir",
    "cited_keys",
    "code",
    "escaped",
    "references",
    "spell_citations",
    "unescaped",
]

_MARKUP = re.compile(r"([\\`*_\[\]{}<>#|~^$@&])")
_ESCAPED = re.compile(r"\\([\\`*_\[\]{}<>#|~^$@&])")

_PLAIN = re.compile(r"[\w.+-]+")

_ENTRY = re.compile(r"^@\w+\{(?P<key>[^,\s]+),\n(?P<fields>.*?)^\}$", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^\s*(\w+)\s*=\s*\{(.*?)\},?$", re.MULTILINE)
_CITATION = re.compile(r"\[(@[^\]]+)\]")


@dataclass(frozen=True)
class Reference:
    """An entry of the bibliography."""

    key: str
    fields: Mapping[str, str]
    bibtex: str
    """The entry as it stands in the file."""

    @property
    def short(self) -> str:
        """``Akiki and Abdallah 2019``, as a text cites it."""
        families = [author.split(",")[0] for author in self.fields["author"].split(" and ")]
        names = f"{families[0]} et al." if len(families) > 2 else " and ".join(families)
        return f"{names} {self.fields['year']}"

    @property
    def venue(self) -> str:
        """Journal, conference or archive."""
        places = ("journal", "booktitle", "howpublished")
        return next((self.fields[place] for place in places if place in self.fields), "")

    @property
    def link(self) -> str | None:
        """Where to read it."""
        doi = self.fields.get("doi")
        return f"https://doi.org/{doi}" if doi else self.fields.get("url")


def boilerplate_dir() -> Path:
    """Find the methods templates: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parents[2]
    installed = package / "boilerplate"
    return installed if installed.is_dir() else package.parent / "boilerplate"


@cache
def references() -> Mapping[str, Reference]:
    """Read ``references.bib``: every entry by its key."""
    text = (boilerplate_dir() / "references.bib").read_text(encoding="utf-8")
    return {
        entry["key"]: Reference(entry["key"], dict(_FIELD.findall(entry["fields"])), entry[0])
        for entry in _ENTRY.finditer(text)
    }


def escaped(text: object) -> str:
    """Write a user's text, such as the name of a column, so that Markdown shows it as it is."""
    return _MARKUP.sub(r"\\\1", " ".join(str(text).split()))


def code(name: object) -> str:
    """Write the name of a column or file as code; one that could end the code, as plain text."""
    text = str(name)
    return f"`{text}`" if _PLAIN.fullmatch(text) else escaped(text)


def unescaped(text: str) -> str:
    """Undo `escaped`, for a page that is not made from Markdown."""
    return _ESCAPED.sub(r"\1", text)


def cited_keys(text: str) -> list[str]:
    """List the keys a text cites as ``[@key; @key]``, sorted, each once."""
    return sorted({key for group in _CITATION.findall(text) for key in _keys(group)})


def spell_citations(text: str) -> str:
    """Exchange ``[@key; @key]`` for ``(Author Year; Author Year)``."""
    known = references()
    return _CITATION.sub(
        lambda found: f"({'; '.join(known[key].short for key in _keys(found[1]))})", text
    )


def _keys(group: str) -> list[str]:
    return [each.strip().removeprefix("@") for each in group.split(";")]
