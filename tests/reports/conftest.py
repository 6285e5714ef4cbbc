"""Small written datasets, as both levels leave them, for the reports to read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fmmtc_bidsapp.bidsio.names import GroupFiles, RunFiles
from fmmtc_bidsapp.bidsio.write import write_atlas, write_json, write_run, write_tsv
from fmmtc_bidsapp.records import Atlas, Connectome, ParcelSeries, RunQuality

SPACE = "MNI152NLin6Asym"
MODELS = {"fmmtc": "FMM_TC", "fc-logistic": "FC-logistic", "dummy": "Dummy"}


def small_atlas(label: str, n: int = 12) -> Atlas:
    return Atlas(
        label=label,
        title=f"Atlas {label}",
        image=Path("unused.nii.gz"),
        index=np.arange(1, n + 1),
        names=tuple(f"P{i}" for i in range(n)),
        networks=tuple(("Visual", "Default Mode", "Subcortical")[i % 3] for i in range(n)),
        subnetworks=("n/a",) * n,
        coordinates_mm=None,
        space=SPACE,
        digest="0" * 64,
        description="Twelve parcels made up for a test.",
    )


@dataclass(frozen=True)
class RunWriter:
    """Writes one finished run of a participant."""

    root: Path

    def atlas(self, label: str, n: int = 12) -> Atlas:
        return small_atlas(label, n)

    def __call__(
        self, participant: str = "01", *, atlas: Atlas | None = None, n_volumes: int = 40
    ) -> Path:
        atlas = atlas or small_atlas("A424")
        n = len(atlas.names)
        rng = np.random.default_rng(n)
        mix = np.eye(n) + 0.4 * (np.array(atlas.networks)[:, None] == np.array(atlas.networks))
        signal = np.cumsum(rng.normal(size=(n_volumes, n)), axis=0) * 0.2
        signal = (signal + rng.normal(size=signal.shape)) @ mix + 1000
        coverage = np.clip(1.02 - rng.exponential(0.05, n), 0.55, 1)
        coverage[1] = 0.2
        signal[:, 1] = np.nan
        with np.errstate(invalid="ignore"):
            matrix = np.corrcoef(signal.T)
        files = RunFiles(
            self.root, {"sub": participant, "task": "rest", "run": "1"}, SPACE, atlas.label,
            "none", "02",
        )  # fmt: skip
        quality = RunQuality(
            n_volumes, 2.0, 0.12, 0.9, n, 1, 1, 0, 0.2, 0.99, 3, 7, 0.21, True, True
        )
        write_run(
            files,
            ParcelSeries(signal, atlas.names, 2.0, coverage),
            Connectome(matrix, atlas.names, "correlation"),
            quality,
            {"MinimumCoverage": 0.5},
        )
        image = nib.Nifti1Image(np.arange(27, dtype=np.int32).reshape(3, 3, 3) % n, np.eye(4))
        write_atlas(self.root, atlas, image, SPACE, "02")
        return self.root


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
            "Verdict": "Not tested.", "ExpectedHalfWidth": 0.15, "Target": "Response",
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
        write_tsv(
            files.metrics,
            {
                "model": models, "metric": metrics,
                "mean": means, "mean_low": means - widths, "mean_high": means + widths,
                "fold_sd": widths / 2,
                "pooled": means - 0.01, "pooled_low": means - widths / 1.4,
                "pooled_high": means + widths / 1.4,
            },
        )  # fmt: skip
        write_tsv(
            files.comparison,
            {
                "model": ["fc-logistic", "dummy"], "metric": ["auroc"] * 2,
                "difference": [0.03, 0.16], "low": [-0.12, -0.02], "high": [0.18, 0.34],
                "p": [0.62, 0.07],
            },
        )  # fmt: skip

    def _curves(self, files: GroupFiles) -> None:
        x = np.linspace(0, 1, 21)
        power = {"fmmtc": 0.5, "fc-logistic": 0.6, "dummy": 1.0}
        lines = [(m, "roc", x, x**q) for m, q in power.items()]
        lines += [(m, "pr", x, 0.5 + (1 - q) * (1 - x)) for m, q in power.items()]
        write_tsv(
            files.curves,
            {
                "model": [m for m, _, a, _ in lines for _ in a],
                "kind": [k for _, k, a, _ in lines for _ in a],
                "x": np.concatenate([a for _, _, a, _ in lines]),
                "y": np.concatenate([b for _, _, _, b in lines]),
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
    """One participant, one training (``train``) and one application (``apply``)."""
    root = tmp_path_factory.mktemp("dataset")
    RunWriter(root)()
    GroupWriter(root).train("train")
    GroupWriter(root).apply("apply")
    return root
