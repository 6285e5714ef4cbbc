"""`python -m fmmtc_bidsapp`."""

from fmmtc_bidsapp.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
