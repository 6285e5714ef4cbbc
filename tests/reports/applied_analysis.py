"""The tables that applying a bundle leaves, with everything that a prediction sheet is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fmmtc_bidsapp.bidsio.files.atomic import write_json, write_text
from fmmtc_bidsapp.bidsio.files.names import GroupFiles, dataset_description
from fmmtc_bidsapp.bidsio.files.tsv import write_tsv

EVIDENCE: Mapping[str, Any] = {
    "verdict": "no evidence of prediction",
    "not_tested": "",
    "auroc": 0.58,
    "auroc_low": 0.41,
    "auroc_high": 0.75,
    "p_adjusted": 0.31,
    "n_permutations": 999,
    "n_people": 56,
    "n_positive": 21,
    "threshold": "0.5",
    "positive": [0, 0, 0, 1, 2, 1, 2, 3, 2, 4, 2, 1, 2, 0, 1, 0, 0, 0, 0, 0],
    "negative": [0, 0, 1, 4, 3, 5, 6, 4, 5, 2, 3, 1, 0, 1, 0, 0, 0, 0, 0, 0],
}
MEASURES: Mapping[str, tuple[float, float]] = {
    "tr_s": (2.0, 2.5),
    "n_volumes": (120, 240),
    "mean_fd_mm": (0.05, 0.42),
    "connectivity_distance": (0.0, 0.31),
}
WITHIN = {"tr_s": [2.0], "n_volumes": [180], "mean_fd_mm": [0.12], "connectivity_distance": [0.2]}


def write_applied(
    root: Path,
    label: str = "new",
    *,
    people: Sequence[tuple[str, str | None]] = (("sub-01", None), ("sub-02", None)),
    person: Mapping[str, Any] = {},
    found: Mapping[str, Sequence[float | None]] = WITHIN,
    outside: Mapping[str, str] = {},
    **about: Any,
) -> GroupFiles:
    """Write the tables of people for whom a bundle gives 0.64.

    Parameters
    ----------
    root, label
        Where, and under which name.
    people
        Participant and session.
    person
        Columns of the predictions that differ, for everyone.
    found
        By measure, of each run.
    outside
        By measure that lies outside, in words.
    **about
        Keys of the sidecar that differ.
    """
    files = GroupFiles(root, label)
    row = {
        "y_true": None, "logit": 0.6, "probability_raw": 0.65, "probability": 0.64,
        "probability_low": None, "probability_high": None, "y_pred": 1, "threshold": 0.5,
        "fold": None, "repeat": None, "n_runs": len(found["tr_s"]), "qc_flag": "usable",
        "out_of_distribution": "; ".join(outside.values()) or None,
    }  # fmt: skip
    names = {
        "participant_id": [each for each, _ in people],
        "session_id": [session for _, session in people],
    }
    columns = {name: [value] * len(people) for name, value in {**row, **person}.items()}
    write_tsv(files.predictions, names | columns)
    write_json(files.predictions.with_suffix(".json"), _about(len(people)) | about)
    _write_ranges(files, people, found, outside)
    steps = {"step": ["in the participants table", "with data"], "n": [len(people)] * 2}
    write_tsv(files.eligibility, steps)
    nobody: dict[str, list[str]] = {
        name: [] for name in ("participant_id", "session_id", "stage", "reason")
    }
    write_tsv(files.exclusions, nobody)
    made_by = {"Name": "fmmtc_bidsapp", "Version": "0.1.0"}
    write_json(dataset_description(root), {"GeneratedBy": [made_by]})
    plan = files.log_dir("20261121-101500_a") / "plan.toml"
    write_text(plan, f'label = "{label}"\nanalysis = "apply"\n')
    return files


def _about(n: int) -> dict[str, Any]:
    return {
        "Target": "Response", "PositiveValue": "1", "N": n, "NWithOutcome": 0, "NPositive": 0,
        "Bundle": "fmmtc", "BundleDigest": "9f" * 32, "BundlePeople": 56,
        "Evidence": dict(EVIDENCE), "Trainings": 1, "Atlas": "A424", "AtlasFallback": False,
        "Notice": "", "Normalisation": "scan", "Encoder": "brainlm", "EncoderDigest": "3f1a",
        "Device": "cpu", "Precision": "bfloat16", "MainModel": "fmmtc",
        "ModelNames": {"fmmtc": "FMM_TC"}, "Options": {"window": 200},
    }  # fmt: skip


def _write_ranges(
    files: GroupFiles,
    people: Sequence[tuple[str, str | None]],
    found: Mapping[str, Sequence[float | None]],
    outside: Mapping[str, str],
) -> None:
    rows = [
        (*who, None if measure == "connectivity_distance" else f"run{i}", measure, value,
         *MEASURES[measure], outside.get(measure))
        for who in people
        for measure, values in found.items()
        for i, value in enumerate(values)
    ]  # fmt: skip
    names = ("participant_id", "session_id", "run", "measure", "found")
    names = (*names, "training_low", "training_high", "outside")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    columns["found"] = np.array(columns["found"], dtype=float)
    write_tsv(files.ranges, columns)
