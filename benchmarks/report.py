"""The group report of 100 people and 12 models: ``python benchmarks/report.py``.

The tables are those of `tests/reports/big_analysis.py`. The report is built in a process of its
own, imports not counted, and opened from its file in headless Chromium, offline.
Ends with 1 where a limit is missed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from measure import machine, markdown_table, run_isolated, spread

TABLES = Path(__file__).resolve().parents[1] / "tests" / "reports" / "big_analysis.py"
CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
LABEL = "big"
MAX_SIZE_MB, MAX_BUILD_S, MAX_PAINT_S = 15.0, 60.0, 2.0
_PAINT = """() => Object.fromEntries(
  performance.getEntriesByType("paint").map((each) => [each.name, each.startTime])
)"""


def build(root: str) -> Callable[[], float]:
    """Return what writes the report, and gives its size in MB (1 MB = 1e6 bytes)."""
    from fmmtc_bidsapp.reports.pages.group import write_group_report

    return lambda: write_group_report(Path(root), LABEL).stat().st_size / 1e6


def first_paint_s(report: Path, repeats: int) -> list[float]:
    """Return the seconds from loading to the first content, each in a new browser."""
    from playwright.sync_api import sync_playwright

    found = []
    with sync_playwright() as playwright:
        for _ in range(repeats):
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_context(
                viewport={"width": 1280, "height": 900}, offline=True
            ).new_page()
            page.goto(report.as_uri())
            page.wait_for_function(f"({_PAINT})()['first-contentful-paint'] !== undefined")
            times: dict[str, Any] = page.evaluate(_PAINT)
            found.append(times["first-contentful-paint"] / 1000)
            browser.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each (default 5)")
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, str(TABLES), folder], check=True)
        built = [run_isolated(f"{__file__}:build", [folder], threads=1) for _ in range(repeats)]
        (report,) = Path(folder, "group").glob("*_report.html")
        paint_s = first_paint_s(report, repeats) if CHROMIUM.exists() else []
    build_s = [each.wall_s for each in built]
    row = {
        "report": "100 people, 12 models",
        "size, MB": f"{built[0].result:.1f}",
        "built in, s": spread(build_s, 1),
        "peak RSS, MB": spread([each.peak_rss_mb for each in built], 0),
        "first paint, s": spread(paint_s) if paint_s else f"n/a: no Chromium at {CHROMIUM}",
    }
    print(machine(), markdown_table([row]), sep="\n\n")
    limits = {
        "size": built[0].result <= MAX_SIZE_MB,
        "time to build": median(build_s) <= MAX_BUILD_S,
        "first paint": not paint_s or median(paint_s) <= MAX_PAINT_S,
    }
    missed = [name for name, kept in limits.items() if not kept]
    kept = "all limits kept" if paint_s else "limits kept, but for the first paint: not measured"
    print("\nlimits missed: " + ", ".join(missed) if missed else f"\n{kept}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
