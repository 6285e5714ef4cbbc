"""Parcel series of a few people, as another program would have written them, and the group level.

Every command is a process of its own, as a user runs it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

N_PARCELS, N_VOLUMES = 8, 60
TINY = (
    "--encoder random --token-orders 1 --window 60 --folds 2 --inner-folds 2 --epochs 2 "
    "--bootstrap 50 --precision float32"
)
"""Flags of a run of seconds."""


def write_parcel_study(folder: Path, people: int = 12, effect: float = 1.0, seed: int = 0) -> Path:
    """Write series whose first four parcels hang together in responders; returns the dataset."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(people) % 2)
    names = [f"sub-{number:02}" for number in range(1, people + 1)]
    table = pd.DataFrame(
        {
            "participant_id": names,
            "response": y,
            "age": rng.integers(20, 60, people),
            "arm": ["drug" if i % 4 < 2 else "placebo" for i in range(people)],
            "site": [f"site-{i % 5}" for i in range(people)],
        }
    )
    derivatives = folder / "derivatives" / "parcels"
    derivatives.mkdir(parents=True)
    for place, kind in ((folder, "raw"), (derivatives, "derivative")):
        about = {"Name": f"Tiny {seed}", "BIDSVersion": "1.11.1", "DatasetType": kind}
        (place / "dataset_description.json").write_text(json.dumps(about))
    table.to_csv(folder / "participants.tsv", sep="\t", index=False)
    sidecar = json.dumps({"RepetitionTime": 2.0, "SamplingFrequency": 0.5})
    stem = "task-rest_atlas-Tiny_stat-mean_timeseries"
    (derivatives / f"{stem}.json").write_text(sidecar)
    for name, outcome in zip(names, y, strict=True):
        signal_ = rng.normal(size=(N_VOLUMES, N_PARCELS))
        signal_[:, :4] += effect * outcome * rng.normal(size=(N_VOLUMES, 1))
        func = derivatives / name / "func"
        func.mkdir(parents=True)
        columns = [f"P{i}" for i in range(N_PARCELS)]
        path = func / f"{name}_{stem}.tsv"
        pd.DataFrame(signal_, columns=columns).to_csv(path, sep="\t", index=False)
    return folder


def group_command(study: Path, out: Path, work: Path, *words: str | Path) -> list[str]:
    """Spell the command that trains on a study."""
    parcels = f"parcels={study / 'derivatives' / 'parcels'}"
    fixed = ("group", "--target", "response", "--derivatives", parcels, "--work-dir", work)
    given = (study, out, *fixed, *TINY.split(), *words)
    return [sys.executable, "-m", "fmmtc_bidsapp", *map(str, given)]


def environment() -> dict[str, str]:
    """Return the environment of a user who has no cache."""
    return {**os.environ, "FMMTC_CACHE_DIR": "/nonexistent"}


def group(
    study: Path, out: Path, work: Path, *words: str | Path
) -> subprocess.CompletedProcess[str]:
    """Run the group level to its end."""
    command = group_command(study, out, work, *words)
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment(), timeout=280
    )


def kill_when(command: list[str], ready: Callable[[], bool]) -> int:
    """Start a command and kill it, but not its workers, as soon as something is true.

    Returns the process group that the workers are left in.
    """
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
        start_new_session=True,
    )
    try:
        while not ready():
            assert process.poll() is None, "the command ended before it could be killed"
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    return process.pid


def workers_of(group_id: int) -> list[int]:
    """List what is left of a process group, some seconds after its leader was killed."""
    for _ in range(100):
        left = [each.pid for each in psutil.process_iter() if _group_of(each.pid) == group_id]
        if not left:
            break
        time.sleep(0.1)
    return left


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1


def written(out: Path) -> dict[str, bytes]:
    """Read all results: everything but logs, which name times and places."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not {"log", "logs"} & set(path.relative_to(out).parts)
    }
