"""The pieces of a participant's report, put together by nireports.

nireports finds pieces by the entities in their names, orders them by its bootstrap file
(``templates/participant.yml``) and fills in a template. It escapes nothing and rewrites the
pictures it refers to, so it is given pieces of HTML that are escaped and hold their pictures, in
a folder of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from markupsafe import Markup
from nireports.assembler.report import Report

from fmmtc_bidsapp.errors import OutputError

__all__ = ["assemble"]

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_PAGE = "report.html"


def assemble(
    frame: Mapping[str, Markup],
    pieces: Mapping[str, Markup],
    sections: Sequence[Mapping[str, Markup]],
) -> str:
    """Put the pieces of a page and the sections of its runs together as one HTML document."""
    try:
        with TemporaryDirectory(prefix="fmmtc") as folder:
            _write_pieces(Path(folder), pieces, sections)
            return _page(Path(folder), frame)
    except OSError as error:
        raise OutputError(
            f"Cannot write temporary files: {error.strerror or error}. Make room, or set TMPDIR to "
            "a folder that can be written, then run again."
        ) from error


def _write_pieces(
    folder: Path, pieces: Mapping[str, Markup], sections: Sequence[Mapping[str, Markup]]
) -> None:
    for suffix, piece in pieces.items():
        (folder / f"_{suffix}.html").write_text(piece, encoding="utf-8")
    for i, section in enumerate(sections, start=1):
        for suffix, piece in section.items():
            # Not run-: nireports sorts numbers as text. And pybids looks for an entity in the
            # whole path; this one is in no folder's name.
            name = f"_recording-{i:04d}_{suffix}.html"
            (folder / name).write_text(piece, encoding="utf-8")


def _page(folder: Path, frame: Mapping[str, Markup]) -> str:
    report = Report(  # type: ignore[no-untyped-call]
        folder,
        None,
        bootstrap_file=_TEMPLATES / "participant.yml",
        out_filename=_PAGE,
        metadata={"template": str(_TEMPLATES / "participant.tpl")},
    )
    report.header, report.navbar, report.footer = (
        [frame[part]] for part in ("header", "navbar", "footer")
    )
    report.generate_report()  # type: ignore[no-untyped-call]
    return (folder / _PAGE).read_text(encoding="utf-8")
