"""``fmmtc-tools fetch``: download files into the cache."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from fmmtc_bidsapp.bidsio.atlases import a424, templates
from fmmtc_bidsapp.bidsio.atlases.a424 import cache_dir, fetch_atlas
from fmmtc_bidsapp.bidsio.atlases.templates import fetch_templates, templateflow_home
from fmmtc_bidsapp.bidsio.files.atomic import write_text
from fmmtc_bidsapp.digest import digest_of
from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.models.checksums import (
    RECORD,
    Received,
    check_received,
    render_received,
)
from fmmtc_bidsapp.models.encoders.brainlm.spec import BRAINLM
from fmmtc_bidsapp.tools.weights import fetch_weights

__all__ = ["RESOURCES", "Resource", "fetch", "templates_record"]


@dataclass(frozen=True)
class Resource:
    """Files to fetch, and their terms."""

    title: str
    licence: str
    terms: str
    """The terms of the licence, in a sentence."""
    source: str
    fetch: Callable[[str | None], list[Path]]
    """Takes the revision; returns the paths."""
    asks_first: bool = False
    """Whether its licence must be accepted."""
    at_revision: bool = False
    """Whether the user chooses a revision."""

    def notice(self) -> str:
        """Return the source and the licence, to be printed."""
        return f"{self.title}, {self.source}\nLicence: {self.licence}. {self.terms}"


def templates_record() -> Path:
    """Return the folder of the record of TemplateFlow's files, whose folder others may share."""
    return cache_dir() / "templates"


def _atlas(revision: str | None) -> list[Path]:
    return [fetch_atlas()]


def _templates(revision: str | None) -> list[Path]:
    """Fetch, and compare with the first fetch: TemplateFlow publishes no digests."""
    files, home, folder = fetch_templates(), templateflow_home(), templates_record()
    known = check_received(folder, home)
    if known is None:
        found = {path.relative_to(home).as_posix(): digest_of(path) for path in files}
        licence = RESOURCES["templates"].licence
        record = Received(templates.SOURCE, "", licence, found)
        write_text(folder / RECORD, render_received(record))
    return files


RESOURCES: Mapping[str, Resource] = MappingProxyType(
    {
        "atlas": Resource(
            "The A424 atlas",
            "GPL-3.0",
            "Copies must be passed on under the same licence.",
            a424.SOURCE,
            _atlas,
        ),
        "templates": Resource(
            "Transforms and brain masks of MNI152NLin6Asym and MNI152NLin2009cAsym",
            "that of each template, in the file LICENSE of its folder",
            "Every copy must contain that notice.",
            templates.SOURCE,
            _templates,
        ),
        "brainlm": Resource(
            f"{BRAINLM.title}'s weights, {BRAINLM.subfolder}",
            f"{BRAINLM.weights_licence}, https://creativecommons.org/licenses/by-nc-nd/4.0/",
            BRAINLM.terms,
            BRAINLM.source,
            partial(fetch_weights, BRAINLM),
            asks_first=True,
            at_revision=True,
        ),
    }
)


def fetch(what: str, *, revision: str | None = None, accept_license: bool = False) -> int:
    """Download one of `RESOURCES`, print its paths, and return 0."""
    resource = RESOURCES[what]
    print(resource.notice(), file=sys.stderr)
    if revision is not None and not resource.at_revision:
        raise UsageError(f"--revision has no meaning with fetch {what}; leave it out.")
    if resource.asks_first and not accept_license:
        raise UsageError(
            f"The licence of {what} is {resource.licence}. {resource.terms} Nothing was fetched; "
            "to accept the licence, add --accept-license."
        )
    for path in resource.fetch(revision):
        print(f"{what}: {path}")
    return 0
