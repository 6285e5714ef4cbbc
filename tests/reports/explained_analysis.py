"""A written explanation with planted networks, as the group level leaves one, for reports to read.

Time series carry the planted networks' parcels, connectivity the edges between them, and so does
the pattern of the linear model. Everything else is noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from fmmtc_bidsapp.bidsio.files.atomic import write_json
from fmmtc_bidsapp.bidsio.files.names import GroupFiles, atlas_files
from fmmtc_bidsapp.bidsio.files.tsv import write_tsv
from fmmtc_bidsapp.records import MapRow, ModalityShare
from fmmtc_bidsapp.simulate.parcellation import demo_atlas

ATLAS, SPACE = "Demo", "MNI152NLin6Asym"
N_EDGES = 100
NAMES = {"fmmtc": "FMM_TC", "fc-logistic": "FC-logistic"}
TOLD = {
    "fmmtc": {
        "Method": "integrated gradients", "Baseline": "zero", "NullMaps": 20,
        "Folds": "5 of 5", "Maps": 56, "Converged": 54,
        "LargestDeltaConverged": 0.009, "MostSteps": 256, "MedianGap": 0.04,
        "Agreement": {"mean": 0.81, "surrogate": 0.55}, "AgreementPeople": 15,
        "Stability": {
            "series": {"Spearman": 0.31, "TopDecileJaccard": 0.18},
            "connectivity": {"Spearman": 0.74, "TopDecileJaccard": 0.42},
        },
    },
    "fc-logistic": {
        "Method": "Haufe pattern", "Folds": "5 of 5", "NullMaps": 99,
        "Stability": {"connectivity": {"Spearman": 0.92, "TopDecileJaccard": 0.66}},
    },
}  # fmt: skip

NO_MAPS = {
    "fmmtc": {"Folds": "5 of 5", "NoMaps": "maps of a network are computed with --explain parcels"}
}


def write_demo_labels(root: Path) -> pd.DataFrame:
    """Write the demonstration atlas as a run would leave it."""
    image, table, _ = atlas_files(root, SPACE, ATLAS, "02")
    image.parent.mkdir(parents=True, exist_ok=True)
    for path, content in zip((image, table), _demo_labels(), strict=True):
        path.write_bytes(content)
    return pd.read_csv(table, sep="\t")


@cache
def _demo_labels() -> tuple[bytes, bytes]:
    """Image and table, which take seconds to make."""
    with TemporaryDirectory() as folder:
        image = demo_atlas(Path(folder))
        return image.read_bytes(), next(Path(folder).glob("*.tsv")).read_bytes()


def write_explanation(
    root: Path,
    parcels: pd.DataFrame,
    planted: Mapping[str, str],
    *,
    label: str = "L",
    atlas: str = ATLAS,
    maps: bool = True,
    models: Sequence[str] = tuple(NAMES),
    **told: Any,
) -> GroupFiles:
    """Write shares and maps.

    ``planted`` names the network that each of ``series`` and ``connectivity`` goes by; ``models``
    those with maps; ``told`` overrides keys of the sidecar.
    """
    files = GroupFiles(root, label)
    files.metrics.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "MainModel": "fmmtc", "ModelNames": NAMES, "Atlas": atlas, "Target": "Response",
        "PositiveValue": 1,
    }  # fmt: skip
    write_json(files.metrics.with_suffix(".json"), about)
    shares = [
        ModalityShare("fmmtc", "series", 0.36, 0.31, 0.42, 0.05, 56),
        ModalityShare("fmmtc", "connectivity", 0.64, 0.58, 0.69, 0.05, 56),
    ]
    rows = [row for row in _rows(parcels, planted) if maps and row.model in models]
    sidecar = {
        "HeldBack": "", "Supported": True, "Training": "the first of 5",
        "Repeat": "the first of 1", "Models": TOLD if maps else NO_MAPS, **told,
    }  # fmt: skip
    for path, records, kind in (
        (files.modality, shares, ModalityShare),
        (files.attributions, rows, MapRow),
    ):
        held_back = bool(sidecar["HeldBack"])
        kept = [] if held_back else records
        write_tsv(path, {f.name: [getattr(row, f.name) for row in kept] for f in fields(kind)})
        write_json(path.with_suffix(".json"), sidecar)
    return files


def _rows(parcels: pd.DataFrame, planted: Mapping[str, str]) -> list[MapRow]:
    rng = np.random.default_rng(0)
    rows = []
    for model, source in (
        ("fmmtc", "series"), ("fmmtc", "connectivity"),
        ("fc-logistic", "connectivity"),
    ):  # fmt: skip
        chosen = (parcels["network"] == planted.get(source, "nowhere")).to_numpy()
        amount = rng.gamma(4, 1, len(parcels)) * np.where(chosen, 3, 1)
        amount /= amount.sum()
        sign = np.clip(rng.normal(0.5 * chosen, 0.4), -1, 1)
        z = rng.normal(2 * chosen)
        maps = parcels.assign(amount=amount, signed=amount * sign, z=z)
        rows += _places(model, source, maps)
        if source == "connectivity":
            rows += _edges(model, source, maps, rng)
    return rows


def _row(
    model: str, source: str, level: str, name: str, ends: tuple[int | None, int | None],
    amount: float, signed: float, z: float,
) -> MapRow:  # fmt: skip
    return MapRow(
        model, source, level, name, *ends, amount, signed, 0.85 * amount, 1.15 * amount,
        np.nan if np.isnan(signed) else 0.5 + 0.5 * min(abs(signed) / max(amount, 1e-12), 1), z,
    )  # fmt: skip


def _places(model: str, source: str, maps: pd.DataFrame) -> list[MapRow]:
    rows = [
        _row(
            model, source, "parcel", p["name"], (p["index"], None), p["amount"], p["signed"], p["z"]
        )
        for p in maps.to_dict("records")
    ]
    sides = np.where(maps["x"] < 0, "left", "right")
    mean = maps["amount"].mean()
    for level, groups in (
        ("network", maps["network"]), ("subnetwork", maps["subnetwork"]), ("hemisphere", sides),
    ):  # fmt: skip
        for name, members in maps.groupby(groups, sort=False):
            amount, signed = members["amount"].mean() / mean, members["signed"].mean() / mean
            z = members["z"].mean()
            rows.append(_row(model, source, level, str(name), (None, None), amount, signed, z))
    return rows


def _edges(model: str, source: str, maps: pd.DataFrame, rng: np.random.Generator) -> list[MapRow]:
    amount = maps["amount"].to_numpy()
    first, second = np.triu_indices(len(maps), 1)
    size = amount[first] * amount[second] * rng.gamma(4, 1, len(first))
    size /= size.sum()
    sign = np.clip(rng.normal(0.3, 0.6, len(first)), -1, 1)
    names, index = maps["name"].tolist(), maps["index"].tolist()
    return [
        _row(model, source, "edge", f"{names[first[i]]} – {names[second[i]]}",
             (index[first[i]], index[second[i]]), size[i], size[i] * sign[i], rng.normal())
        for i in np.argsort(-size)[:N_EDGES]
    ]  # fmt: skip
