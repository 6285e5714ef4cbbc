"""Files and functions that one image and one label pass through: ``python benchmarks/trace.py``.

A tiny study is simulated. The participant level of one person (image to report) and `train` (label
to prediction and report) run in one process with nipype's Linear plugin, and every function of the
package that is called is counted once. ``--list`` prints them in the order of their first call.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import fmmtc_bidsapp
from fmmtc_bidsapp.cli.main import main as fmmtc
from fmmtc_bidsapp.cli.tools import main as fmmtc_tools

PACKAGE = str(Path(fmmtc_bidsapp.__file__).parent)
_UNNAMED = ("<module>", "<genexpr>", "<listcomp>", "<dictcomp>", "<setcomp>", "<lambda>")


@contextmanager
def called() -> Iterator[dict[CodeType, None]]:
    """Collect the functions of the package that are called, in the order of their first call."""
    found: dict[CodeType, None] = {}

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE):
            found.setdefault(code)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def functions(codes: dict[CodeType, None]) -> list[tuple[str, str]]:
    """List (file, function) of what was called, without the bodies of modules and expressions."""
    named = (code for code in codes if code.co_name not in _UNNAMED)
    return [(str(Path(c.co_filename).relative_to(PACKAGE)), c.co_qualname) for c in named]


def traced(command: Callable[[], int]) -> list[tuple[str, str]]:
    """Run a command in this process, and list what it called."""
    with called() as codes:
        code = command()
    if code:
        raise SystemExit(f"The command ended with {code}.")
    return functions(codes)


def main() -> None:
    """Trace both levels and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="print every function")
    listed = parser.parse_args().list
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        bids, out = root / "bids", root / "out"
        plugin = root / "linear.yml"
        plugin.write_text("plugin: Linear\n")
        common = ["-w", str(root / "work"), "--use-plugin", str(plugin)]
        simulate = f"simulate {bids} --people 16 --controls 0 --seed 1 --strength 2 --atlas demo "
        if fmmtc_tools([*simulate.split(), "--parcels", "48", "--voxel-size-mm", "8"]):
            raise SystemExit("The study could not be simulated.")
        atlas = ["--atlas", str(bids / "sourcedata/simulation")]
        participant = [str(bids), str(out), "participant", *common, *atlas]
        group = f"{bids} {out} group --target Response --network fmmtc --encoder random --folds 2 "
        group += "--inner-folds 2 --epochs 2 --token-orders 1 --permutations 0 --label traced"
        everyone = [path.name for path in sorted(bids.glob("sub-*"))]
        one = traced(lambda: fmmtc([*participant, "--participant-label", everyone[0][4:]]))
        fmmtc(participant)
        label = traced(lambda: fmmtc([*group.split(), *common]))
    for title, found in (("one image to its report", one), ("one label to its prediction", label)):
        files = {file for file, _ in found}
        print(f"{title}: {len(files)} files, {len(set(found))} functions")
        if listed:
            print(*(f"  {file}: {name}" for file, name in dict.fromkeys(found)), sep="\n")


if __name__ == "__main__":
    main()
