"""TemplateFlow files: transforms between templates, and brain masks.

Downloaded without TemplateFlow's client, which writes to the disk at import, takes seconds without
a network, and leaves an incomplete file if it is killed. File names are TemplateFlow's.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from fmmtc_bidsapp.bidsio.files.annex import content_problem
from fmmtc_bidsapp.bidsio.files.fetch_file import fetch_file, without_secrets
from fmmtc_bidsapp.errors import MissingResourceError

__all__ = [
    "SOURCE",
    "fetch_templates",
    "find_template_mask",
    "find_transform",
    "links_of_templates",
    "templateflow_home",
]

SOURCE = "https://templateflow.s3.amazonaws.com"

_HOME_VARIABLE = "TEMPLATEFLOW_HOME"
_SPACES = ("MNI152NLin6Asym", "MNI152NLin2009cAsym")
_MASK_RESOLUTIONS = (2, 1)


class _File(NamedTuple):
    """A file of TemplateFlow."""

    template: str
    name: str

    @property
    def path(self) -> Path:
        return templateflow_home() / f"tpl-{self.template}" / self.name


def _transform(source: str, target: str) -> _File:
    return _File(target, f"tpl-{target}_from-{source}_mode-image_xfm.h5")


def _mask(space: str, resolution: int) -> _File:
    template, _, cohort = space.partition(":")
    if cohort:
        # Cohorts of TemplateFlow are folders, with resolutions that are not padded.
        name = f"{cohort}/tpl-{template}_{cohort}_res-{resolution}_desc-brain_mask.nii.gz"
        return _File(template, name)
    return _File(space, f"tpl-{space}_res-{resolution:02}_desc-brain_mask.nii.gz")


def templateflow_home() -> Path:
    """Return TemplateFlow's folder: ``TEMPLATEFLOW_HOME``, else in the user's cache."""
    own = os.environ.get(_HOME_VARIABLE)
    if own:
        return Path(own).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "templateflow"


def find_transform(source: str, target: str) -> Path:
    """Return the ITK transform between templates (``MNI152NLin6Asym``), downloaded if absent."""
    return _have(_transform(source, target))


def find_template_mask(space: str) -> Path | None:
    """Return the brain mask of a template at 2 mm or 1 mm, if present; it is not downloaded."""
    paths = [_mask(space, resolution).path for resolution in _MASK_RESOLUTIONS]
    return next((path for path in paths if content_problem(path) is None), None)


def fetch_templates() -> list[Path]:
    """Download both transforms and both brain masks of the two MNI templates, if absent."""
    return [_have(file) for file in _links()]


def links_of_templates() -> list[Path]:
    """Return the paths of the files of `fetch_templates`, existing or not."""
    return [file.path for file in _links()]


def _links() -> list[_File]:
    first, second = _SPACES
    transforms = [_transform(first, second), _transform(second, first)]
    return [*transforms, *(_mask(space, 2) for space in _SPACES)]


def _have(file: _File) -> Path:
    # TemplateFlow has empty files in place of those not downloaded.
    if content_problem(file.path) is None:
        return file.path
    try:
        _ask_templateflow(file)
    except OSError as error:
        raise _absent(file, without_secrets(str(error))) from None
    if content_problem(file.path) is not None:
        raise _absent(file, "the file is empty")
    return file.path


def _ask_templateflow(file: _File) -> None:
    fetch_file(f"{SOURCE}/tpl-{file.template}/{quote(file.name)}", file.path)


def _absent(file: _File, reason: str) -> MissingResourceError:
    return MissingResourceError(
        f"{file.path} is needed and cannot be downloaded from TemplateFlow ({reason}). Run "
        f"`fmmtc-tools fetch templates` on a machine with network access, or set {_HOME_VARIABLE} "
        "to a TemplateFlow folder that has it."
    )
