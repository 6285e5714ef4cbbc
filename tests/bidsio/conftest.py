"""Small datasets that the tests of this room build in code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmmtc_bidsapp.bidsio.derivatives.write import write_run
from fmmtc_bidsapp.bidsio.files.names import RunFiles
from fmmtc_bidsapp.records import CleanedSeries, Connectome, ParcelSeries, RunQuality, Strategy

PARCELS = ("R_V1", "R_MST", "L_V1")


@pytest.fixture
def fmriprep(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that adds files to an fMRIPrep-like folder, each with some content."""
    root = tmp_path / "fmriprep"

    def add(*names: str, tr_s: float | None = 2.0) -> Path:
        root.mkdir(exist_ok=True)
        description = {"Name": "d", "BIDSVersion": "1.4.0", "DatasetType": "derivative"}
        description |= {"GeneratedBy": [{"Name": "fMRIPrep", "Version": "24.1.1"}]}
        (root / "dataset_description.json").write_text(json.dumps(description))
        if tr_s is not None:
            (root / "task-rest_bold.json").write_text(json.dumps({"RepetitionTime": tr_s}))
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"content")
        return root

    return add


@pytest.fixture
def quality() -> RunQuality:
    unknown: dict[str, Any] = {each.name: None for each in fields(RunQuality)}
    known = {
        "n_volumes": 6,
        "tr_s": 2.0,
        "tr_source": "sidecar",
        "num_dummy_volumes": 0,
        "num_censored_volumes": 0,
        "num_retained_volumes": 6,
        "retained_s": 12.0,
        "n_regressors": 0,
        "dof": 5,
        "mean_fd": 0.125,
        "max_fd": 0.5,
        "n_parcels": 3,
        "n_parcels_missing": 1,
        "n_parcels_low_coverage": 0,
        "n_parcels_zero_variance": 0,
        "n_parcels_shrunk": 0,
        "coverage_min": 0.0,
        "coverage_median": 1.0,
        "n_voxels_nonfinite": 0,
        "n_voxels_constant": 0,
        "fc_mean": 0.1,
        "atlas_resampling": "none",
        "usable": True,
        "reasons": "n/a",
    }
    return RunQuality(**(unknown | known))


@pytest.fixture
def written(tmp_path: Path, quality: RunQuality) -> Callable[..., RunFiles]:
    """Return a function that writes one run of three parcels, the second of them missing."""

    def write(
        entities: Mapping[str, str],
        *,
        desc: str = "none",
        atlas: str = "A424",
        digest: str = "00",
        parcels: tuple[str, ...] = PARCELS,
        changes: Mapping[str, Any] | None = None,
    ) -> RunFiles:
        files = RunFiles(tmp_path / "out", entities, "MNI152NLin6Asym", atlas, desc, "02")
        signal = np.random.default_rng(7).normal(size=(6, 3))
        signal[:, 1] = np.nan
        none = np.zeros(6, dtype=bool)
        write_run(
            files,
            ParcelSeries(signal, parcels, 2.0, np.array([1.0, 0.0, 0.75])),
            CleanedSeries(signal, np.full(6, 0.125), None, none, none, none, dof=5),
            Strategy(desc, "As a test needs it", detrend=desc != "none"),
            Connectome(np.corrcoef(signal.T), parcels, "correlation"),
            replace(quality, **dict(changes or {})),
            {"Sources": ["bids:fmriprep:sub-01/func/x"], "AtlasDigest": digest},
        )
        return files

    return write
