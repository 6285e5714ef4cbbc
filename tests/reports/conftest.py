"""Small written datasets, as both levels leave them, for the reports to read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from fmmtc_bidsapp.bidsio.files.atomic import write_json
from fmmtc_bidsapp.bidsio.files.names import (
    GroupFiles,
    RunFiles,
    atlas_description,
    atlas_files,
    bids_uri,
    dataset_description,
)
from fmmtc_bidsapp.bidsio.files.tsv import write_tsv
from fmmtc_bidsapp.reports.data.outputs import read_json
from fmmtc_bidsapp.reports.figures.run_figures import draw_combined, draw_run

SPACE = "MNI152NLin6Asym"
NETWORKS = ("Visual", "Default Mode", "Subcortical")
MODELS = {"fmmtc": "FMM_TC", "fc-logistic": "FC-logistic", "dummy": "Dummy"}
REGRESSORS = (
    *(f"{k}_{x}{d}" for k in ("trans", "rot") for x in "xyz" for d in ("", "_derivative1")),
    *("csf", "white_matter", "cosine00", "cosine01"),
)
CLEANED = {
    "CleaningStrategy": "simple",
    "CleaningTitle": "motion parameters, white matter, CSF and cosines",
    "CleaningReferences": ["friston1996", "not2know"],
    "CleaningNotes": ["trans_x_derivative1 was computed."],
    "SoftwareFilters": {
        "Detrend": {"Polynomial": 1},
        "Bandpass": {"LowCutoffHz": 0.01, "HighCutoffHz": 0.08},
    },
    "ConfoundRegressors": list(REGRESSORS),
    "FramewiseDisplacementThreshold": 0.5,
    "StandardisedDVARSThreshold": "n/a",
    "Interpolated": True,
}
QUALITY = {
    "tr_s": 2.0, "mean_fd": 0.12, "max_fd": 0.9, "n_parcels_missing": 1, "coverage_min": 0.2,
    "coverage_median": 0.99, "fc_mean": 0.21, "dof": 17, "atlas_resampling": "none",
    "usable": True, "reasons": None,
}  # fmt: skip


@dataclass(frozen=True)
class RunWriter:
    """Writes one finished run of a participant; its second parcel has no data."""

    root: Path

    def __call__(self, participant: str = "01", *, draw: bool = False, **changes: Any) -> Path:
        """Write a run, with its pictures or without; returns the root of the dataset."""
        files = self.run(participant, **changes)
        if draw:
            draw_run(files, self.boldref() if files.den is None else None)
        return self.root

    def run(
        self,
        participant: str = "01",
        *,
        entities: Mapping[str, str] = {"task": "rest", "run": "1"},
        atlas: str = "A424",
        desc: str = "simple",
        den: str | None = None,
        n_volumes: int = 40,
        n_parcels: int = 12,
        first_parcel: str = "P0",
        sidecar: Mapping[str, Any] = {},
        quality: Mapping[str, Any] = {},
    ) -> RunFiles:
        """Write the files of a run without pictures."""
        grid = {"space": SPACE, "res": "02"} if den is None else {"space": "fsLR", "den": den}
        files = RunFiles(
            self.root, {"sub": participant, **entities}, atlas=atlas, desc=desc, **grid
        )
        names = [first_parcel, *(f"P{i}" for i in range(1, n_parcels))]
        self._atlas(files, names)
        cleaned = desc != "none"
        left_out = _left_out(n_volumes, cleaned=cleaned)
        retained = ~left_out.any(axis=0)
        signal = _signal(n_volumes, n_parcels)
        write_tsv(files.uncleaned, dict(zip(names, signal.T, strict=True)))
        rest = (signal - np.mean(signal, axis=0))[retained]
        common = {
            "RepetitionTime": 2.0, "Atlas": atlas, "AtlasSpace": SPACE, "AtlasResampling": "none",
            "AtlasTransform": "n/a", "MinimumCoverage": 0.5, "NumberOfVolumes": n_volumes,
        }  # fmt: skip
        write_json(files.uncleaned.with_suffix(".json"), common | dict(sidecar))
        if cleaned:
            write_tsv(files.timeseries, dict(zip(names, rest.T, strict=True)))
            counts = {
                "NumberOfVolumesRetained": int(retained.sum()),
                "NumberOfDummyVolumes": int(left_out[0].sum()),
                "NumberOfCensoredVolumes": int(left_out[1].sum()),
            }
            told = common | CLEANED | counts | dict(sidecar)
            write_json(files.timeseries.with_suffix(".json"), told)
            self._design(files, n_volumes)
        self._motion(files, left_out)
        self._matrix(files, names, rest)
        coverage = np.linspace(0.6, 1, n_parcels)
        coverage[1] = 0.2
        write_tsv(files.coverage, {"Node": names, "coverage": coverage})
        numbers = {
            "n_volumes": n_volumes, "num_dummy_volumes": int(left_out[0].sum()),
            "num_censored_volumes": int(left_out[1].sum()),
            "num_retained_volumes": int(retained.sum()), "n_parcels": n_parcels,
        }  # fmt: skip
        row = {"participant_id": f"sub-{participant}"} | QUALITY | numbers | dict(quality)
        write_tsv(files.qc, {name: [value] for name, value in row.items()})
        return files

    def combined(self, runs: Sequence[RunFiles], *, draw: bool = False) -> RunFiles:
        """Write a matrix that stands for runs, with the numbers of the first one's."""
        whole = runs[0].combined()
        whole.relmat.write_bytes(runs[0].relmat.read_bytes())
        told = read_json(runs[0].relmat.with_suffix(".json"))
        sources = {"Sources": [bids_uri(each.relmat, self.root) for each in runs]}
        write_json(whole.relmat.with_suffix(".json"), told | sources)
        if draw:
            draw_combined(whole)
        return whole

    def two_runs(self, participant: str = "01", **changes: Any) -> list[RunFiles]:
        """Write two runs of a task, of 35 and 55 retained volumes."""
        lengths = {"1": 40, "2": 60}
        return [
            self.run(
                participant, entities={"task": "rest", "run": run}, n_volumes=length, **changes
            )
            for run, length in lengths.items()
        ]

    def boldref(self) -> Path:
        """Write a reference volume on a finer grid than the labels'."""
        path = self.root.parent / f"{self.root.name}_boldref.nii.gz"
        bright = np.random.default_rng(0).uniform(500, 1000, size=(20, 24, 20))
        nib.save(nib.Nifti1Image(bright, np.diag([3.0, 3.0, 3.0, 1.0])), path)
        return path

    def _atlas(self, files: RunFiles, names: list[str]) -> None:
        image, table, _ = atlas_files(
            files.output_dir, files.space, files.atlas, files.res, files.den
        )
        n = len(names)
        networks = [NETWORKS[i % 3] for i in range(n)]
        write_tsv(table, {"index": range(1, n + 1), "name": names, "network": networks})
        if files.den is None:
            labels = np.zeros((14, 16, 12), dtype=np.int32)
            inside = labels[2:-2, 2:-2, 2:-2]
            inside[:] = 1 + np.arange(inside.size).reshape(inside.shape) * n // inside.size
            # To the left, as A424 is stored.
            nib.save(nib.Nifti1Image(labels, np.diag([-4.0, 4.0, 4.0, 1.0])), image)
        about = {"Name": f"Atlas {files.atlas}", "Description": "Made up.", "License": "CC0"}
        write_json(atlas_description(self.root, files.atlas), about)
        made_by = {
            "Name": "fmmtc_bidsapp", "Version": "0.0.1", "ConfigurationHash": {"simple": "7c1e"},
        }  # fmt: skip
        write_json(dataset_description(self.root), {"GeneratedBy": [made_by]})

    def _motion(self, files: RunFiles, left_out: np.ndarray) -> None:
        fd_mm = np.random.default_rng(2).gamma(2, 0.05, left_out.shape[1])
        fd_mm[left_out[1]] = 0.9
        columns = {"fd_mm": fd_mm, "std_dvars": 1 + fd_mm}
        for values in columns.values():
            values[0] = np.nan
        flags = dict(zip(("dummy", "censored"), left_out.astype(int), strict=True))
        write_tsv(files.outliers, columns | flags)

    def _design(self, files: RunFiles, n_volumes: int) -> None:
        values = np.random.default_rng(3).normal(size=(len(REGRESSORS), n_volumes))
        write_tsv(files.design, dict(zip(REGRESSORS, values, strict=True)))

    def _matrix(self, files: RunFiles, names: list[str], signal: np.ndarray) -> None:
        with np.errstate(invalid="ignore"):
            matrix = np.corrcoef(signal.T)
        write_tsv(files.relmat, {"Node": names, **dict(zip(names, matrix, strict=True))})
        about = {"RelationshipMeasure": "Pearson correlation coefficient", "FisherZ": False}
        write_json(files.relmat.with_suffix(".json"), about)


def _left_out(n_volumes: int, *, cleaned: bool) -> np.ndarray:
    """Dummy and censored, (2, time)."""
    left_out = np.zeros((2, n_volumes), dtype=bool)
    if cleaned:
        left_out[0, :2] = True
        left_out[1, [10, 11, 25]] = True
    return left_out


def _signal(n_volumes: int, n_parcels: int) -> np.ndarray:
    rng = np.random.default_rng(n_parcels)
    network = np.arange(n_parcels) % 3
    mix = np.eye(n_parcels) + 0.4 * (network[:, None] == network)
    signal = rng.normal(size=(n_volumes, n_parcels)) @ mix + 1000
    signal[:, 1] = np.nan
    return signal


@dataclass(frozen=True)
class GroupWriter:
    """Writes the tables of one group analysis."""

    root: Path

    def train(self, label: str = "L", *, n: int = 20, first_id: str = "sub-000") -> Path:
        rng = np.random.default_rng(n)
        files = GroupFiles(self.root, label)
        y = np.arange(n) % 2
        logit = 0.7 * (2 * y - 1) + rng.normal(size=n)
        self._predictions(files, first_id, logit, y, n_folds=5)
        self._cohort(files, n)
        self._performance(files)
        self._curves(files)
        self._learning(files)
        about = {
            "Verdict": "no evidence of prediction in 2 tested models.", "ExpectedHalfWidth": 0.15,
            "Verdicts": {"fmmtc": "not tested", "fc-logistic": "no evidence of prediction"},
            "Permutations": {"fmmtc": 0, "fc-logistic": 999}, "Selection": "nested",
            "NotTested": {"fmmtc": "no shuffles were asked for (--permutations)"},
            "Duplicates": [], "Target": "Response",
            "PositiveValue": 1, "N": n, "NPositive": int(y.sum()), "Atlas": "A424",
            "AtlasFallback": False, "Notice": "", "Normalisation": "scan", "Encoder": "brainlm",
            "EncoderDigest": "sha256:3f1a", "Device": "cpu", "Precision": "bfloat16",
            "Options": {
                "folds": 5, "repeats": 1, "inner_folds": 3, "epochs": 40, "batch_size": 8,
                "learning_rate": 5e-4, "calibration": "sigmoid", "threshold": "0.5",
                "bootstrap": 2000, "normalisation": "scan", "window": 200, "fusion": "concat",
                "short_series": "drop-patches", "token_orders": 8, "encoder": "brainlm",
            },
            "ModelNames": MODELS, "MainModel": "fmmtc",
        }  # fmt: skip
        write_json(files.metrics.with_suffix(".json"), about)
        return self.root

    def apply(self, label: str = "L", *, n: int = 6) -> Path:
        logit = np.linspace(-2, 2, n)
        self._predictions(GroupFiles(self.root, label), "sub-000", logit, None, n_folds=1)
        return self.root

    def _predictions(
        self, files: GroupFiles, first_id: str, logit: np.ndarray, y: np.ndarray | None,
        *, n_folds: int,
    ) -> None:  # fmt: skip
        n = len(logit)
        raw = 1 / (1 + np.exp(-1.6 * logit))
        p = 1 / (1 + np.exp(-0.8 * logit))
        nothing = [None] * n
        write_tsv(
            files.predictions,
            {
                "participant_id": [first_id, *(f"sub-{i:03d}" for i in range(1, n))],
                "session_id": nothing,
                "y_true": nothing if y is None else y,
                "logit": logit,
                "probability_raw": raw,
                "probability": p,
                "probability_low": np.full(n, np.nan),
                "probability_high": np.full(n, np.nan),
                "y_pred": (p >= 0.5).astype(int),
                "threshold": np.full(n, 0.5),
                "fold": np.arange(n) % n_folds if y is not None else nothing,
                "repeat": [0] * n if y is not None else nothing,
                "n_runs": [1] * n,
                "qc_flag": ["ok"] * n,
                "out_of_distribution": [False] * n,
            },
        )

    def _cohort(self, files: GroupFiles, n: int) -> None:
        steps = ["in the participants table", "type = patient", "outcome known", "with data"]
        write_tsv(files.eligibility, {"step": steps, "n": [n + 20, n + 7, n + 5, n]})
        write_tsv(
            files.exclusions,
            {
                "participant_id": [f"sub-9{i:02d}" for i in range(5)],
                "session_id": [None] * 5,
                "stage": ["series"] * 3 + ["quality"] * 2,
                "reason": ["no series found"] * 3 + ["mean FD 0.71 mm above 0.5 mm"] * 2,
            },
        )

    def _performance(self, files: GroupFiles) -> None:
        worth = {
            "auroc": (0.66, 0.63, 0.5), "balanced_accuracy": (0.61, 0.6, 0.5),
            "mcc": (0.22, 0.2, 0.0), "f1_macro": (0.6, 0.59, 0.34),
            "sensitivity": (0.58, 0.6, 0.0), "specificity": (0.64, 0.6, 1.0),
            "brier": (0.235, 0.24, 0.25), "brier_skill": (0.06, 0.04, 0.0),
        }  # fmt: skip
        cells = [
            (model, metric, value, 0.17 if model != "dummy" else 0.0)
            for metric, values in worth.items()
            for model, value in zip(MODELS, values, strict=True)
        ]
        models, metrics, means, widths = (np.array(each) for each in zip(*cells, strict=True))
        headline = metrics == "auroc"
        tested = headline & (models != "fmmtc")
        columns = {
            "mean": means, "mean_low": means - widths, "mean_high": means + widths,
            "fold_sd": widths / 2,
            "pooled": means - 0.01, "pooled_low": means - widths / 1.4,
            "pooled_high": means + widths / 1.4,
        }  # fmt: skip
        said = {True: "no evidence of prediction", False: "not tested"}
        told = list(zip(headline, tested, strict=True))
        nothing = np.full(len(means), np.nan)
        write_tsv(
            files.metrics,
            {
                "model": models, "metric": metrics, **columns,
                "n_permutations": [999 * int(t) if h else None for h, t in told],
                "p": np.where(tested, 0.12, np.nan),
                "p_adjusted": np.where(tested, 0.2, np.nan),
                "verdict": [said[bool(t)] if h else None for h, t in told],
                "last_epoch": nothing, "best_on_test": nothing, "optimism": nothing,
            },
        )  # fmt: skip
        n = len(means)
        others = headline & (models != "fmmtc")
        gap = np.where(others, 0.66 - means, np.nan)
        write_tsv(
            files.comparison,
            {
                "table": [None] * n, "row": [None] * n, "model": models,
                "title": [MODELS[each] for each in models], "selection": ["nested"] * n,
                "train_on": [None] * n, "test_on": [None] * n, "metric": metrics, **columns,
                "difference": gap, "difference_low": gap - 0.2, "difference_high": gap + 0.2,
                "difference_p": np.where(others, 0.4, np.nan), "note": [None] * n,
            },
        )  # fmt: skip

    def _curves(self, files: GroupFiles) -> None:
        x = np.linspace(0, 1, 21)
        power = {"fmmtc": 0.5, "fc-logistic": 0.6, "dummy": 1.0}
        # The mean over folds, and two folds of the main model.
        folds = [(m, q, None) for m, q in power.items()]
        folds += [("fmmtc", 0.4, 0), ("fmmtc", 0.65, 1)]
        lines = [(m, "roc", x, x**q, fold) for m, q, fold in folds]
        lines += [(m, "pr", x, 0.5 + (1 - q) * (1 - x), fold) for m, q, fold in folds]
        write_tsv(
            files.curves,
            {
                "model": [m for m, _, a, _, _ in lines for _ in a],
                "kind": [k for _, k, a, _, _ in lines for _ in a],
                "repeat": [None if f is None else 0 for *_, a, _, f in lines for _ in a],
                "fold": [f for *_, a, _, f in lines for _ in a],
                "x": np.concatenate([a for _, _, a, _, _ in lines]),
                "y": np.concatenate([b for _, _, _, b, _ in lines]),
            },
        )
        p = np.tile(np.linspace(0.15, 0.85, 5), 2)
        observed = np.concatenate([[0.3, 0.4, 0.5, 0.55, 0.65], [0.25, 0.35, 0.5, 0.6, 0.75]])
        write_tsv(
            files.calibration,
            {
                "model": ["fmmtc"] * 10, "stage": ["before"] * 5 + ["after"] * 5,
                "mean_probability": p, "observed_share": observed,
                "low": observed - 0.2, "high": observed + 0.2, "n": [4] * 10,
            },
        )  # fmt: skip

    def _learning(self, files: GroupFiles) -> None:
        epochs = np.arange(1, 41)
        rows = [(fold, epoch) for fold in range(5) for epoch in epochs]
        fold, epoch = (np.array(each) for each in zip(*rows, strict=True))
        validation = 0.69 - 0.08 * np.exp(-(((epoch - 12 - fold) / 8) ** 2)) + 0.001 * epoch
        write_tsv(
            files.learning,
            {
                "model": ["fmmtc"] * len(fold), "seed": np.zeros_like(fold),
                "repeat": np.zeros_like(fold), "fold": fold, "epoch": epoch,
                "train_loss": 0.7 * np.exp(-epoch / 25), "validation_loss": validation,
                "chosen": epoch == 12 + fold,
            },
        )  # fmt: skip


@pytest.fixture
def write_a_run(tmp_path: Path) -> RunWriter:
    return RunWriter(tmp_path)


@pytest.fixture
def write_a_group(tmp_path: Path) -> GroupWriter:
    return GroupWriter(tmp_path)


@pytest.fixture(scope="module")
def written_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two participants, one training (``train``) and one application (``apply``).

    The second has two runs without pictures, and their combined matrix with its picture.
    """
    root = tmp_path_factory.mktemp("dataset")
    write = RunWriter(root)
    write(draw=True)
    write.combined(write.two_runs("02"), draw=True)
    GroupWriter(root).train("train")
    GroupWriter(root).apply("apply")
    return root


CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    """A browser without a window."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip(f"no Chromium at {CHROMIUM} (apt-get install chromium, or set CHROMIUM)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()
