"""The address of a Dask scheduler, from itself or from the file that the scheduler wrote."""

from __future__ import annotations

import json
import re
from pathlib import Path

from fmmtc_bidsapp.errors import UsageError

__all__ = ["read_address"]

_ADDRESS = re.compile(r"(?:tcp|tls)://[^\s/]+:\d+")
_MOST_BYTES = 1_000_000


def read_address(text: str) -> str:
    """Return the address of ``tcp://host:port``, ``tls://host:port`` or a scheduler file."""
    if _ADDRESS.fullmatch(text):
        return text
    if "://" in text:
        raise UsageError(
            f"--scheduler-address {text} is not an address of a Dask scheduler: give "
            "tcp://HOST:PORT, tls://HOST:PORT, or the file that dask scheduler --scheduler-file "
            "wrote."
        )
    try:
        path = Path(text)
        with path.open("rb") as file:
            address = json.loads(file.read(_MOST_BYTES))["address"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UsageError(
            f"--scheduler-address {text} is neither tcp://HOST:PORT nor a file that dask scheduler "
            f"--scheduler-file wrote ({error})."
        ) from error
    if not (isinstance(address, str) and _ADDRESS.fullmatch(address)):
        raise UsageError(f"The scheduler file {text} names no address: found {address!r}.")
    return address
