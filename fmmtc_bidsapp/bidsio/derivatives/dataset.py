"""The root of the derivative dataset: description, lock, configuration."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from filelock import SoftFileLock, Timeout

from fmmtc_bidsapp.bidsio.files.atomic import refuse_unwritable, write_json, write_text
from fmmtc_bidsapp.bidsio.files.names import (
    STATISTICS,
    UNCLEANED,
    dataset_description,
    finished_dir,
    results_patterns,
)
from fmmtc_bidsapp.bidsio.files.run_lock import hold
from fmmtc_bidsapp.errors import OutputError, UsageError

__all__ = [
    "PARCEL_MEANS",
    "check_configuration",
    "check_output_dir",
    "check_work_dir",
    "prepare_output",
    "require_joined",
    "require_written",
    "run_id_after",
]

PARCEL_MEANS = "parcel-means"
"""What the uncleaned series are known by, which all cleanings of a dataset share."""

_OTHERS = {PARCEL_MEANS: "parcel means"}
_OWN_PLACE = "Choose another label or output folder for this run, or remove those results."
_WAY_OUT = {
    PARCEL_MEANS: "Use another output folder for another --atlas, --min-coverage or "
    "--resampling-target."
}

PROGRAM = "fmmtc_bidsapp"
BIDS_VERSION = "1.11.1"
LOCK_TIMEOUT_S = 60.0
"""Each run holds the lock for milliseconds, but all jobs of an array begin at once."""

_UNNAMED_IN_BIDS = (
    "sub-*.html",
    # Without a trailing slash: the validator reports the folder itself otherwise.
    "sub-*/figures",
    "sub-*/log",
    "group",
    "models",
    "*_stat-coverage_bold.tsv",
    "*_stat-coverage_bold.json",
)
# The validator allows one asterisk per name, so each label needs its lines.
_UNNAMED_PER_LABEL = (
    "*_stat-mean_desc-{}_timeseries.tsv",
    "*_stat-mean_desc-{}_timeseries.json",
    *(
        f"*_stat-{statistic}_desc-{{}}_relmat{extension}"
        for statistic in STATISTICS.values()
        for extension in (".tsv", ".json")
    ),
    *(
        f"*_desc-{{}}_{suffix}{extension}"
        for suffix in ("outliers", "design")
        for extension in (".tsv", ".json")
    ),
    "*_desc-{}_qc.tsv",
)


def check_output_dir(output_dir: Path, inputs: Sequence[Path]) -> None:
    """Raise UsageError if the output (or a link in it) would write into an input dataset."""
    link = _first_link(output_dir)
    if link:
        raise UsageError(
            f"{link}; nothing is written there. Replace it by a folder, or choose another output "
            "folder."
        )
    output = output_dir.resolve()
    for root in (path.resolve() for path in inputs):
        inside = output.relative_to(root).parts if output.is_relative_to(root) else None
        if inside is not None and (not inside or inside[0].startswith("sub-")):
            raise UsageError(
                f"The output folder {output_dir} is part of the input dataset {root}, where "
                f"nothing is written. Choose another, for example {root / 'derivatives' / 'fmmtc'}."
            )


def check_work_dir(work_dir: Path, inputs: Sequence[Path], *, flag: str = "--work-dir") -> None:
    """Raise UsageError if a folder of ours, given by ``flag``, lies inside an input dataset."""
    for root in inputs:
        if work_dir.resolve().is_relative_to(root.resolve()):
            raise UsageError(
                f"{flag} {work_dir} is inside the input {root}, where nothing is written. Choose "
                "another folder."
            )


def check_configuration(
    output_dir: Path, hashes: Mapping[str, str], sources: Mapping[str, Path]
) -> None:
    """Raise the errors of `prepare_output` (``hashes`` by ``desc``) without writing."""
    refuse_unwritable(output_dir, "output folder")
    existing = _read_own(output_dir)
    for desc, config_hash in hashes.items():
        _joined_hashes(existing, desc, config_hash, output_dir)
    _joined_links(existing, sources, output_dir)


def prepare_output(
    output_dir: Path,
    *,
    config_hash: str,
    desc: str,
    sources: Mapping[str, Path],
    version: str,
) -> None:
    """Create our derivative dataset, or join the existing one.

    One configuration per ``desc`` (a ``desc-``, ``group-<label>`` or `PARCEL_MEANS`); ``sources``
    are roots by their name in ``DatasetLinks``. UsageError for another program's dataset, another
    configuration's results under the same ``desc``, or a concurrent run of one; OutputError if it
    cannot be written or is locked.
    """
    lock = output_dir / f".{PROGRAM}.lock"
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        with SoftFileLock(lock, timeout=LOCK_TIMEOUT_S):
            existing = _read_own(output_dir)
            hashes = _joined_hashes(existing, desc, config_hash, output_dir)
            links = _joined_links(existing, sources, output_dir)
            _hold(output_dir, desc, _hashes_in(existing).get(desc), config_hash)
            description = _description(version, hashes, links)
            write_json(_copy(output_dir), description)
            write_json(dataset_description(output_dir), description)
            write_text(output_dir / ".bidsignore", _bidsignore(hashes))
    except Timeout as error:
        raise OutputError(
            f"{lock} is locked by another run. Wait until it ends. If none is running, delete this "
            "file of a killed run and run again."
        ) from error
    except OSError as error:
        raise OutputError(
            f"Cannot write to {output_dir}: {error.strerror or error}. Choose a writable output "
            "folder."
        ) from error


def _hold(output_dir: Path, desc: str, earlier: str | None, config_hash: str) -> None:
    """Lock a configuration; UsageError if a run of another configuration is writing."""
    change = earlier not in (None, config_hash)
    if not hold(finished_dir(output_dir) / f"{desc}.lock", change=change):
        raise UsageError(
            f"Another run is writing {_OTHERS.get(desc, f'results under {desc!r}')} of another "
            f"configuration to {output_dir}: {earlier}, this run has {config_hash}. Wait until it "
            f"ends. {_WAY_OUT.get(desc, _OWN_PLACE)}"
        )


def require_joined(output_dir: Path, hashes: Mapping[str, str]) -> None:
    """Check before the end of a run that the output is still of its configuration.

    OutputError if it was deleted, moved or replaced, UsageError if it has another configuration.
    """
    require_written(output_dir, [dataset_description(output_dir)])
    now = _hashes_in(_read_own(output_dir))
    for desc, ours in hashes.items():
        if now.get(desc) != ours:
            raise UsageError(
                f"{output_dir} now has another configuration: {desc!r} is "
                f"{now.get(desc, 'unknown')}, this run has {ours}. {_OWN_PLACE}"
            )


def require_written(output_dir: Path, paths: Iterable[Path]) -> None:
    """Raise OutputError if a written file is gone or empty, or a folder became a link outside."""
    found = _first_lost(sorted(paths)) or _first_link(output_dir)
    if found:
        raise OutputError(
            f"{output_dir} was deleted, moved or changed during this run: {found}. Run the same "
            "command again without changing the folder; complete results are kept."
        )


def _first_lost(paths: Sequence[Path]) -> str:
    for path in paths:
        try:
            size = path.stat().st_size
        except OSError as error:
            return f"{path} cannot be found ({error.strerror})"
        if size == 0:
            return f"{path} is empty"
    return ""


def _first_link(output_dir: Path) -> str:
    """Describe the first folder of the output that is a link to a place outside; else empty."""
    root = output_dir.resolve()
    for link in _linked_folders(output_dir):
        if not link.resolve().is_relative_to(root):
            return f"{link} is a link to a place outside the output, {link.resolve()}"
    return ""


def _linked_folders(folder: Path, *, is_root: bool = True) -> Iterator[Path]:
    """Yield links to folders among those that are written to, down to the ones in a session."""
    folders: list[os.DirEntry[str]] = []
    # Absent and unreadable folders are reported when they are made or written to.
    with suppress(OSError), os.scandir(folder) as entries:
        folders += [each for each in entries if each.is_dir() and not each.name.startswith(".")]
    for each in folders:
        if each.is_symlink():
            yield Path(each.path)
        elif is_root or each.name.startswith("ses-"):
            yield from _linked_folders(Path(each.path), is_root=False)


def _copy(output_dir: Path) -> Path:
    """Return the path of the second description, for a damaged first one."""
    return finished_dir(output_dir) / "dataset_description.json"


def run_id_after(run_id: str, logs: Iterable[Path]) -> str:
    """Return a run id that sorts after those of earlier log folders, if the clock was set back."""
    last = max((path.name for path in logs if _date(path.name) is not None), default="")
    date = _date(last)
    if date is None or run_id > last:
        return run_id
    _, separator, rest = run_id.partition("_")
    return f"{date + timedelta(seconds=1):{_STAMP}}{separator}{rest}"


_STAMP = "%Y%m%d-%H%M%S"
_STAMPED = re.compile(r"([0-9]{8}-[0-9]{6})_")


def _date(name: str) -> datetime | None:
    """Return the start of a run by the name of its folder; None for other names."""
    found = _STAMPED.match(name)
    if found is None:
        return None
    try:
        return datetime.strptime(found[1], _STAMP)
    except ValueError:
        return None


def _read_own(output_dir: Path) -> dict[str, Any]:
    path = dataset_description(output_dir)
    try:
        found, names = _read_description(path)
    except FileNotFoundError:
        return _read_copy(output_dir) or {}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        copied = _read_copy(output_dir)
        if copied is None:
            raise UsageError(f"{path} cannot be read ({error}). Correct or delete it.") from error
        return copied
    if PROGRAM not in names:
        raise UsageError(
            f"{output_dir} has a dataset of {', '.join(names) or 'an unknown program'}. Choose an "
            "empty output folder, or one of this program."
        )
    return found


def _read_description(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Read a description, and the names of the programs in it."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found, [each["Name"] for each in found.get("GeneratedBy", [])]


def _read_copy(output_dir: Path) -> dict[str, Any] | None:
    """Read the second description; None if it cannot be read."""
    try:
        return _read_description(_copy(output_dir))[0]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _hashes_in(description: Mapping[str, Any]) -> dict[str, str]:
    hashes: dict[str, str] = {}
    for each in description.get("GeneratedBy", []):
        hashes |= each.get("ConfigurationHash", {})
    return hashes


def _joined_hashes(
    existing: Mapping[str, Any], desc: str, config_hash: str, output_dir: Path
) -> dict[str, str]:
    hashes = _hashes_in(existing)
    earlier = hashes.get(desc, config_hash)
    if earlier != config_hash and _has_results(output_dir, desc):
        raise UsageError(
            f"{output_dir} has {_OTHERS.get(desc, f'results under {desc!r}')} of another "
            f"configuration: {earlier}, this run has {config_hash}. "
            f"{_WAY_OUT.get(desc, _OWN_PLACE)}"
        )
    return hashes | {desc: config_hash}


def _has_results(output_dir: Path, desc: str) -> bool:
    """Return whether a configuration has results; one that failed for everyone may be replaced."""
    return any(
        next(output_dir.glob(pattern), None) is not None for pattern in results_patterns(desc)
    )


def _bidsignore(labels: Iterable[str]) -> str:
    # What is no desc- has a hyphen: group-<label> and the parcel means, which are desc-none.
    descs = sorted({UNCLEANED, *(label for label in labels if label.isalnum())})
    per_label = (line.format(desc) for desc in descs for line in _UNNAMED_PER_LABEL)
    return "".join(f"{line}\n" for line in (*_UNNAMED_IN_BIDS, *per_label))


def _joined_links(
    existing: Mapping[str, Any], sources: Mapping[str, Path], output_dir: Path
) -> dict[str, str]:
    """Add the sources of this run; the URIs in earlier sidecars must stay valid."""
    links: dict[str, str] = dict(existing.get("DatasetLinks", {}))
    for name, root in sources.items():
        link = root.resolve().as_uri()
        if links.setdefault(name, link) != link:
            raise UsageError(
                f"{output_dir} was made from {links[name]}, this run reads {link} as {name!r}. "
                "Choose another output folder for this run."
            )
    return links


def _description(
    version: str, hashes: Mapping[str, str], links: Mapping[str, str]
) -> dict[str, Any]:
    generated_by = {
        "Name": PROGRAM,
        "Version": version,
        **_container(),
        "ConfigurationHash": dict(sorted(hashes.items())),
    }
    return {
        "Name": "Parcel series, connectivity and drug-response predictions",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [generated_by],
        # Sorted, so that it does not matter which of several runs came first.
        "SourceDatasets": [{"URL": links[name]} for name in sorted(links)],
        "DatasetLinks": dict(sorted(links.items())),
    }


def _container() -> dict[str, Any]:
    """Return the container image, which its recipe puts into the environment."""
    tag = os.environ.get("FMMTC_CONTAINER")
    if tag is None:
        return {}
    kind = "singularity" if Path("/.singularity.d").exists() else "docker"
    return {"Container": {"Type": kind, "Tag": tag}}
