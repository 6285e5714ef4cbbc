"""The sha256 of a file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fmmtc_bidsapp.digest import digest_of


def test_the_digest_is_sha256(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert digest_of(path) == hashlib.sha256(b"abc").hexdigest()
