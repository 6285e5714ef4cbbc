"""axe-core, which finds what keeps people from reading a page: fetched once, never in the tree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pooch
import pytest
import requests

__all__ = ["fetch_axe", "violations"]

_URL = "https://registry.npmjs.org/axe-core/-/axe-core-4.14.1.tgz"
_SHA256 = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745"
_SCRIPT = "package/axe.min.js"
_SEVERE = ("serious", "critical")
_RUN = "() => axe.run(document, { resultTypes: ['violations'] })"


def fetch_axe(cache: Path) -> str:
    """Return the script, from a folder that keeps it; the test is skipped where it is not there."""
    try:
        found = pooch.retrieve(
            _URL,
            known_hash=f"sha256:{_SHA256}",
            path=cache,
            processor=pooch.Untar(members=[_SCRIPT], extract_dir="axe-core"),
        )
    except requests.exceptions.RequestException as error:
        pytest.skip(f"axe-core is not in {cache} and cannot be fetched ({type(error).__name__})")
    (script,) = found
    return Path(script).read_text(encoding="utf-8")


def violations(page: Any, axe: str) -> list[str]:
    """Judge an open page: what is severe, with the first places where it is."""
    page.evaluate(axe)
    return [
        f"{each['id']} ({each['impact']}): "
        + ", ".join(str(node["target"]) for node in each["nodes"][:3])
        for each in page.evaluate(_RUN)["violations"]
        if each["impact"] in _SEVERE
    ]
