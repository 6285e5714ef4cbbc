"""``fmmtc-tools fetch``: download files into the cache."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from fmmtc_bidsapp.bidsio.atlases import a424, templates
from fmmtc_bidsapp.bidsio.atlases.atlas import cache_dir, fetch_atlas
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
    """Something that is fetched, and on which terms."""

    title: str
    licence: str
    terms: str
    """What the licence asks for or forbids, in a sentence."""
    source: str
    fetch: Callable[[str | None], list[Path]]
    """Takes the revision; returns where everything is."""
    asks_first: bool = False
    """Whether its licence must be accepted."""
    at_revision: bool = False
    """Whether the user names a revision; else it is pinned here, or there is none."""

    def notice(self) -> str:
        """Say whose it is and on which terms."""
        return f"{self.title}, {self.source}\nLicence: {self.licence}. {self.terms}"


def templates_record() -> Path:
    """Name the folder of the record of what TemplateFlow sent: its own folder may be others'."""
    return cache_dir() / "templates"


def _atlas(revision: str | None) -> list[Path]:
    return [fetch_atlas()]


def _templates(revision: str | None) -> list[Path]:
    """Fetch, and hold to what was fetched first: TemplateFlow publishes no digests."""
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
            "Whoever passes it on does so under the same licence.",
            a424.SOURCE,
            _atlas,
        ),
        "templates": Resource(
            "Transforms and brain masks of MNI152NLin6Asym and MNI152NLin2009cAsym",
            "that of each template, in the file LICENSE of its folder",
            "The notice in it goes with every copy.",
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
    """Download a resource and say where it is.

    Parameters
    ----------
    what
        A key of `RESOURCES`.
    revision
        Commit to fetch, of those that have one to choose.
    accept_license
        Whether the user accepts its licence.

    Returns
    -------
    int
        Exit code 0.

    Raises
    ------
    UsageError
        When a licence that must be accepted is not, or a revision has no meaning.
    MissingResourceError
        When it cannot be downloaded, or its sha256 is not the pinned or recorded one.
    """
    resource = RESOURCES[what]
    print(resource.notice(), file=sys.stderr)
    if revision is not None and not resource.at_revision:
        raise UsageError(f"--revision has no meaning with fetch {what}; leave it out.")
    if resource.asks_first and not accept_license:
        raise UsageError(
            f"The licence of {what} is {resource.licence}. {resource.terms} Nothing was fetched; "
            "if you accept it, add --accept-license."
        )
    for path in resource.fetch(revision):
        print(f"{what}: {path}")
    return 0
