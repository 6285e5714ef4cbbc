"""Run benchmarks and write what they print into docs/performance.md and docs/evaluation.md.

    python benchmarks/performance.py parcellate encode train_step

Each benchmark's Markdown replaces its section, the part between ``<!-- NAME -->`` and
``<!-- /NAME -->``; the prose around it is kept.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
DOCS = FOLDER.parent / "docs"
COMMANDS: dict[str, list[str]] = {
    "parcellate": ["parcellate.py"],
    "participant": ["participant.py"],
    "find_runs": ["find_runs.py"],
    "genotypes": ["genotypes.py"],
    "scaling": ["scaling.py"],
    "cluster": ["cluster.py"],
    "encode": ["encode.py"],
    "train_step": ["train_step.py"],
    "train": ["train.py"],
    "report": ["report.py"],
    "recovery": ["recovery.py", "--results", "recovery.jsonl"],
    "optimism": ["optimism.py", "--results", "optimism.jsonl"],
}
PAGES = dict.fromkeys(COMMANDS, DOCS / "performance.md") | {"optimism": DOCS / "evaluation.md"}


def main() -> None:
    chosen = sys.argv[1:] or list(COMMANDS)
    for name in chosen:
        replace_section(PAGES[name], name, "")
    for name in chosen:
        done = subprocess.run(
            [sys.executable, *_script(name)], stdout=subprocess.PIPE, text=True, check=False
        )
        print(done.stdout)
        PAGES[name].write_text(replace_section(PAGES[name], name, tables_of(done.stdout)))


def _script(name: str) -> list[str]:
    script, *options = COMMANDS[name]
    return [str(FOLDER / script), *options]


def tables_of(printed: str) -> str:
    """Leave the lines of progress out of what a benchmark printed."""
    lines = printed.splitlines()
    first = next(i for i, line in enumerate(lines) if line and not line[0].isdigit())
    return "\n".join(lines[first:]).strip()


def replace_section(page: Path, name: str, text: str) -> str:
    """Return a page with a text between the marks of a section."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = page.read_text().partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{page} has no section {start} … {end}.")
    return f"{before}{start}\n{text}\n{end}{after}"


if __name__ == "__main__":
    main()
