"""The entry points ``fmmtc``, ``fmmtc-tools`` and ``python -m fmmtc_bidsapp``.

Interrupts are handled from here on, since the commands take a moment to import.
"""

import sys

__all__ = ["fmmtc", "fmmtc_tools"]


def fmmtc() -> int:
    """Run ``fmmtc``; return the exit code, 130 also after Ctrl-C while it is imported."""
    try:
        from fmmtc_bidsapp.cli.main import main

        return main()
    except KeyboardInterrupt:
        return _interrupted("fmmtc")


def fmmtc_tools() -> int:
    """Run ``fmmtc-tools``; return the exit code, as `fmmtc`."""
    try:
        from fmmtc_bidsapp.cli.tools import main

        return main()
    except KeyboardInterrupt:
        return _interrupted("fmmtc-tools")


def _interrupted(program: str) -> int:
    print(f"{program}: interrupted; run the same command to go on.", file=sys.stderr)
    return 130


if __name__ == "__main__":
    raise SystemExit(fmmtc())
