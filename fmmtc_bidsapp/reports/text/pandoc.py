"""The methods text as HTML and LaTeX, where pandoc is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["converted"]

_FORMATS = {".html": "html", ".tex": "latex"}
_TIMEOUT_S = 60
_MARKDOWN = "markdown-raw_html-raw_tex-raw_attribute"
"""Names of columns are other people's text: none of it becomes markup."""


def converted(markdown: str, bibliography: Path) -> dict[str, str]:
    """Convert a methods text to documents by file suffix; none without pandoc."""
    program = shutil.which("pandoc")
    if program is None:
        return {}
    documents = {}
    for suffix, form in _FORMATS.items():
        command = [
            *(program, "--standalone", "--citeproc", f"--bibliography={bibliography}"),
            *(
                "--metadata=title:Methods",
                "--metadata=lang:en",
                f"--from={_MARKDOWN}",
                f"--to={form}",
            ),
        ]
        document = _output(command, markdown)
        if document is not None:
            documents[suffix] = document
    return documents


def _output(command: list[str], text: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 -- our own arguments
            command,
            input=text,
            capture_output=True,
            check=True,
            encoding="utf-8",
            timeout=_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError) as error:
        why = getattr(error, "stderr", None) or error
        print(f"Warning: pandoc did not convert the methods text ({why}).", file=sys.stderr)
        return None
    return done.stdout
