"""What users copy from docs/containers.md: sound shell, and command lines that are taken."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from fmmtc_bidsapp.cli.main import plan_from

PAGE = Path(__file__).resolve().parents[2] / "docs" / "containers.md"
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
IMAGES = {"docker": "fmmtc", "singularity": "fmmtc.sif"}


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed here")
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_shellcheck_finds_nothing(number: int) -> None:
    words = ["shellcheck", "--shell=bash", "-"]
    done = subprocess.run(words, input=BLOCKS[number], capture_output=True, text=True, check=False)
    assert done.stdout == ""


def _runs() -> list[list[str]]:
    """Find what the entrypoint is told, run by run."""
    lines = [line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]
    found = []
    for words in map(shlex.split, lines):
        image = IMAGES.get(words[0])
        if words[1] == "run" and image in words and "--entrypoint" not in words:
            found.append(words[words.index(image) + 1 :])
    return found


def test_every_run_on_the_page_is_one_that_the_program_takes() -> None:
    levels = [type(plan_from(words)).__name__ for words in _runs()]
    assert levels == ["ParticipantPlan", "GroupPlan"] * 3
