"""The scripts of docs/hpc.md and the plugin files that it names, as users copy them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "hpc.md"
PLUGINS = sorted((ROOT / "docs" / "plugins").glob("*.yml"))
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)


def job_script(mark: str) -> str:
    """Find the one script for sbatch that holds a mark."""
    (found,) = (each for each in BLOCKS if each.startswith("#!") and mark in each)
    return found
