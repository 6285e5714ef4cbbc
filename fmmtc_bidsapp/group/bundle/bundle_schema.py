"""The schema of a bundle's files, checked before anything is read from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fmmtc_bidsapp.bidsio.cohort.covariates import CovariateLevels
from fmmtc_bidsapp.group.bundle.schema import (
    Choice,
    Flag,
    Items,
    Kind,
    Maybe,
    Number,
    Plain,
    Problems,
    Record,
    Table,
    Text,
    Whole,
    record_of,
)
from fmmtc_bidsapp.group.bundle.validation_summary import Evidence
from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.learning.estimators.networks import NETWORKS
from fmmtc_bidsapp.models.encoders.brainlm.size import BrainLMSize
from fmmtc_bidsapp.models.networks.brain_network_transformer import BrainNetworkSize
from fmmtc_bidsapp.models.networks.fusion import FUSIONS
from fmmtc_bidsapp.models.networks.resnet import ResNetSize
from fmmtc_bidsapp.options import LONGEST_WINDOW, MOST_TOKEN_ORDERS, ModelOptions
from fmmtc_bidsapp.records import Calibration

__all__ = ["CALIBRATION", "CONFIG", "PACKAGES", "PEOPLE", "PREPROCESSING", "disagreements"]

_SHA256 = Text(r"[0-9a-f]{64}")
_DIGEST = Text(r"[0-9a-f]{32}")
_NAME = Text(r"(?s).{1,1000}")
_SHARE = Number(0, 1)
_PEOPLE = Whole(0, 10**7)
_SIZE = Whole(1, 16_384)
_DEPTH = Whole(1, 64)
"""Number of layers: even an empty one takes time."""


def _pair(kind: Kind) -> Items:
    return Items(kind, least=2, most=2, rising=True)


_CALIBRATION = record_of(
    Calibration,
    {
        "method": Choice(("sigmoid", "temperature", "isotonic", "none", "recalibration")),
        "threshold": _SHARE,
        "knots": Items(Items(Number(), least=2, most=2)),
    },
)
CALIBRATION = Record({"calibration": _CALIBRATION, "prevalence": _SHARE})
"""``calibration.json``."""

_SIZES: Mapping[str, Kind] = {
    "train_loss": Items(Number(0)),
    "hidden": _SIZE,
    "fusion": Choice(tuple(FUSIONS)),
    "resnet": record_of(
        ResNetSize,
        {
            "hidden_sizes": Items(_SIZE, least=1, most=16),
            "depths": Items(_DEPTH, least=1, most=16),
        },
    ),
    "n_parcels": Whole(1, 100_000),
    "n_tokens": Whole(1, 10**7),
    "bnt": record_of(
        BrainNetworkSize,
        {
            **dict.fromkeys(("n_heads", "feedforward", "n_clusters", "cluster_features"), _SIZE),
            "n_layers": _DEPTH,
            "perceptron": Items(_SIZE, least=1, most=16),
            "dropout": _SHARE,
        },
    ),
    "brainlm": record_of(BrainLMSize),
    "standardised": Flag(),
}
"""Fields of a fitted model besides its tensors; most models have fewer."""


class _Fitted:
    """Fields of the models of this program; other packages may add plain values."""

    own = Record(_SIZES, frozenset(_SIZES) - {"train_loss"})

    def problems(self, field: str, value: Any) -> Problems:
        """Yield what is wrong with a value."""
        if not isinstance(value, dict):
            yield from self.own.problems(field, value)
            return
        known = {name: each for name, each in value.items() if name in _SIZES}
        yield from self.own.problems(field, known)
        others = {name: each for name, each in value.items() if name not in _SIZES}
        yield from Plain().problems(field, others)


class _Model:
    """The name of a model of this program or of an installed package."""

    def problems(self, field: str, value: Any) -> Problems:
        """Yield what is wrong with a value."""
        if not (isinstance(value, str) and (value in MODELS or value in NETWORKS)):
            yield from Choice(tuple(MODELS)).problems(field, value)


_FITTED = _Fitted()
_SHAPE = Items(Whole(0, 2**40), most=8)
_TRAINING: Mapping[str, Kind] = {
    "model": _Model(),
    "epoch": Whole(0, 10**6),
    "validation_loss": Items(Number(0)),
}
_ONE_OF_SEVERAL = Record(
    {**_TRAINING, **CALIBRATION.fields, "fitted": _FITTED, "tensors": Table(_SHAPE)}
)

PACKAGES = Items(
    Record(dict.fromkeys(("group", "name", "distribution", "version"), _NAME)), most=1000
)
"""Entry points of other packages that a bundle needs."""

_BUNDLE_FILES = ("model.safetensors", "preprocessing.json", "calibration.json", "people.json")
CONFIG = Record(
    {
        "format": Whole(2, 3),
        "version": _NAME,
        "model": _Model(),
        "title": _NAME,
        "trainings": Whole(1, 10_000),
        "target": _NAME,
        "positive_value": _NAME,
        "negative_value": Maybe(_NAME),
        "positive_meaning": Maybe(Text()),
        "negative_meaning": Maybe(Text()),
        "n_people": Whole(1, 10**7),
        "training_range": Record(
            {
                "tr_s": Maybe(_pair(Number(0, 1000))),
                "n_volumes": Maybe(_pair(Whole(0, 10**7))),
                "mean_fd_mm": Maybe(_pair(Number(0, 1e6))),
            }
        ),
        "connectivity_limit": Maybe(Number(0, 1e6)),
        "evidence": Maybe(
            record_of(
                Evidence,
                {name: Items(_PEOPLE, least=1, most=1000) for name in ("positive", "negative")},
            )
        ),
        "network": Record(
            {**_TRAINING, "fitted": _FITTED, "trainings": Items(_ONE_OF_SEVERAL, least=2)},
            frozenset(("fitted", "trainings")),
        ),
        "shapes": Table(_SHAPE),
        "sha256": Record(dict.fromkeys(_BUNDLE_FILES, _SHA256), frozenset(("people.json",))),
        "packages": PACKAGES,
        "seal": _SHA256,
    },
    frozenset(("packages", "negative_value", "positive_meaning", "negative_meaning", "evidence")),
)
"""``config.json``. What is optional here is missing in format 2, or without other packages."""

PREPROCESSING = Record(
    {
        "options": record_of(
            ModelOptions,
            {
                "window": Whole(1, LONGEST_WINDOW),
                "token_orders": Whole(1, MOST_TOKEN_ORDERS),
                "resample_tr": Maybe(Number(0.01, 100)),
            },
        ),
        "seed": Whole(0, 2**64),
        "encoder_digest": _NAME,
        "random_digest": Maybe(_NAME),
        "precision": Choice(("float32", "bfloat16")),
        "atlas": Maybe(_NAME),
        "atlas_digest": Maybe(_NAME),
        "parcels": Items(_NAME, least=1, most=100_000, unique=True),
        "coordinates_mm": Maybe(Items(Items(Number(-1e6, 1e6), least=3, most=3))),
        "adjust": Flag(),
        "covariates": Items(
            record_of(
                CovariateLevels,
                {
                    "name": _NAME,
                    "levels": Maybe(Items(_NAME, least=1, unique=True)),
                    "codes": Maybe(_pair(Number())),
                    "range": Maybe(_pair(Number())),
                    "meanings": Items(Items(Text(), least=2, most=2)),
                },
            ),
            most=10_000,
        ),
        "modalities": Table(Items(_NAME, least=1, most=1_000_000)),
        "scale": Record({name: Items(Maybe(Number())) for name in ("median", "iqr")}),
    },
    frozenset(("scale", "random_digest", "modalities")),
)
"""``preprocessing.json``."""

PEOPLE = Record(
    {
        "people": Maybe(
            Record(
                {
                    "salt": _DIGEST,
                    "dataset": Maybe(_DIGEST),
                    **{name: Items(_DIGEST) for name in ("labels", "files", "scans")},
                }
            )
        )
    }
)
"""``people.json``."""

Json = Mapping[str, Any]


def _counts(config: Json, preprocessing: Json) -> Iterator[tuple[str, int, int]]:
    """Yield fields with their number of entries, and the number needed."""
    n_parcels = len(preprocessing["parcels"])
    network = config["network"]
    xyz_mm, scale = preprocessing["coordinates_mm"], preprocessing.get("scale")
    yield "network.trainings", len(network.get("trainings", [0])), config["trainings"]
    if xyz_mm is not None:
        yield "coordinates_mm", len(xyz_mm), n_parcels
    if scale is not None:
        yield "scale.median", len(scale["median"]), n_parcels
        yield "scale.iqr", len(scale["iqr"]), n_parcels
    for each in _fitted(network):
        if "n_parcels" in each:
            yield "network.fitted.n_parcels", each["n_parcels"], n_parcels


def _fitted(network: Json) -> list[Json]:
    several = [each["fitted"] for each in network.get("trainings", [])]
    return [network["fitted"]] if "fitted" in network else several


_RULES: Mapping[str, Callable[[Json, Json], bool]] = {
    "network.model is not the model": lambda config, _: (
        {config["model"]}
        == {each["model"] for each in (config["network"], *config["network"].get("trainings", []))}
    ),
    "network holds fitted and trainings, or neither": lambda config, _: (
        ("fitted" in config["network"]) != ("trainings" in config["network"])
    ),
    "network.fitted has unknown fields": lambda config, _: (
        config["model"] not in MODELS
        or all(_SIZES.keys() >= each.keys() for each in _fitted(config["network"]))
    ),
    "adjust needs covariates": lambda _, preprocessing: (
        not preprocessing["adjust"] or bool(preprocessing["covariates"])
    ),
    "covariates name one twice": lambda _, preprocessing: (
        len({each["name"] for each in preprocessing["covariates"]})
        == len(preprocessing["covariates"])
    ),
    "covariates are missing": lambda config, preprocessing: (
        bool(preprocessing["covariates"]) or "covariates" not in MODELS[config["model"]].needs
    ),
    "coordinates_mm are missing": lambda config, preprocessing: (
        preprocessing["coordinates_mm"] is not None
        or not {"encoder", "random encoder", "coordinates"} & {*MODELS[config["model"]].needs}
    ),
}
"""Rules between fields, by the message if they do not hold."""


def disagreements(config: Json, preprocessing: Json) -> list[str]:
    """Return the fields of a bundle that contradict each other."""
    broken = [sentence for sentence, holds in _RULES.items() if not holds(config, preprocessing)]
    wrong = [
        f"{field} has {found} entries or says so, {needed} are needed"
        for field, found, needed in _counts(config, preprocessing)
        if found != needed
    ]
    return [*broken, *wrong]
