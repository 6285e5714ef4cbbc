"""The checks before a commit are those of `make lint`."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]


def test_pre_commit_runs_every_tool_of_make_lint_and_no_other() -> None:
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.M)
    assert recipe is not None
    linted = {re.sub(r" (--check )?\.$", "", each) for each in re.findall(r"\)/(.+)", recipe[1])}
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    entries = {hook["entry"].removeprefix(".venv/bin/").replace(" --fix", "") for hook in hooks}
    assert entries == {each.replace("hadolint Dockerfile", "hadolint") for each in linted}
