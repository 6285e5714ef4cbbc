"""The table of models, by the names of the flag and the result tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import partial

from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.learning.estimators.classifiers import HEADS
from fmmtc_bidsapp.learning.estimators.fused_features import FusedLearner
from fmmtc_bidsapp.learning.estimators.learner import Learner, Setup
from fmmtc_bidsapp.learning.estimators.linear import ColumnsLearner, DummyLearner
from fmmtc_bidsapp.learning.estimators.networks import NETWORKS
from fmmtc_bidsapp.learning.estimators.shared_training import NetworkLearner
from fmmtc_bidsapp.learning.preprocessing.features import FEATURES
from fmmtc_bidsapp.modalities.table import MODALITIES
from fmmtc_bidsapp.models.encoders.registry import encoder_title
from fmmtc_bidsapp.models.networks.fusion import FUSIONS
from fmmtc_bidsapp.records import Examples

__all__ = [
    "BASELINES",
    "MAIN_MODEL",
    "MODELS",
    "REFERENCE_MODELS",
    "Model",
    "baselines",
    "check_needs",
    "expand_models",
    "families",
    "missing_needs",
    "needs_there",
    "reads_encoder",
    "refuse_adjusting",
    "refuse_needs",
    "title_of",
    "tunes_encoder",
]


@dataclass(frozen=True)
class Model:
    """A row of the table of models."""

    learner: Callable[[Setup], Learner]
    title: str
    """In tables, by `title_of`; ``{encoder}`` is replaced by the encoder's title."""
    needs: tuple[str, ...] = ()
    """What the cohort must have: names of `_HAS`."""
    is_network: bool = False
    adjustment: str = ""
    """What ``--adjust`` does: ``columns`` (covariates are regressed out of those that its weighted
    sum reads), ``refused`` (it would find them again); empty where the model stays as it is, as it
    reads nothing of the brain."""
    family: str | None = None
    """The network whose training makes this model; models of one family are trained together."""


MAIN_MODEL = "fmmtc"
"""The model that the others are compared with."""

BASELINES = ("dummy", "covariates", "motion", "acquisition", "fc-logistic")
"""Always fitted as well, where the cohort fulfils their needs."""

REFERENCE_MODELS = frozenset({"dummy", "covariates", "motion", "acquisition"})
"""Models without brain activity, with which others are compared; if one of them predicts, that is
no evidence for any model."""

_CLASSIFIERS = {"svm": "SVM", "ridge": "Ridge", "knn": "k-NN", "xgboost": "XGBoost"}
_COLUMNS = ("ts", "fc", "pca-ts", "pca-fc", "encoder")


def _on_columns(head: str, features: str, title: str) -> Model:
    learner = partial(ColumnsLearner, head=head, features=features)
    adjustment = "columns" if HEADS[head].is_linear else "refused"
    own = FEATURES[features]
    return Model(
        learner, title, needs=(own.needs,), adjustment=adjustment if own.is_of_brain else ""
    )


_SOURCE_NEEDS = {"cls": "encoder", "cls_random": "random encoder"}
"""Needs that are not called as the array is."""


def _network(name: str, title: str, also: tuple[str, ...] = ()) -> Model:
    streams = NETWORKS[name].streams
    needs = tuple(_SOURCE_NEEDS.get(each.source, each.source) for each in streams)
    learner = partial(NetworkLearner, network=name)
    return Model(
        learner, title, needs=needs + also, is_network=True, adjustment="refused", family=name
    )


def _on_fused(head: str, title: str) -> Model:
    own = _network(MAIN_MODEL, title)
    return replace(own, learner=partial(FusedLearner, network=MAIN_MODEL, head=head))


class _Models(dict[str, Model]):
    """Iterates over this program's models; those of other packages are looked up by name."""

    def __missing__(self, name: str) -> Model:
        if name not in NETWORKS:
            raise KeyError(name)
        return _network(name, NETWORKS[name].title or name)


_OWN: Mapping[str, Model] = {
    MAIN_MODEL: _network(MAIN_MODEL, "FMM_TC"),
    "fmmtc-untrained": _network("fmmtc-untrained", "FMM_TC without pre-training"),
    **{
        f"fmmtc-{fusion}": _network(f"fmmtc-{fusion}", f"FMM_TC ({fusion.replace('-', ' ')})")
        for fusion in FUSIONS
    },
    "brainlm": _network("brainlm", "{encoder} (frozen)"),
    "brainlm-untrained": _network("brainlm-untrained", "BrainLM without pre-training"),
    "brainlm-tuned": _network("brainlm-tuned", "BrainLM (fine-tuned)", ("coordinates",)),
    "brainlm-scratch": _network(
        "brainlm-scratch", "BrainLM (trained from scratch)", ("coordinates",)
    ),
    "lstm": _network("lstm", "LSTM on series"),
    "resnet-ts": _network("resnet-ts", "ResNet-18 on series"),
    "resnet-fc": _network("resnet-fc", "ResNet-18 on FC"),
    "bnt": _network("bnt", "Brain Network Transformer on FC"),
    "fc-logistic": _on_columns("logistic", "tangent", "FC logistic (tangent space)"),
    "fc-logistic-edges": _on_columns("logistic", "fc", "FC logistic (edges)"),
    "covariates": _on_columns("logistic", "covariates", "Covariates only"),
    "motion": _on_columns("logistic", "motion", "Motion only"),
    "acquisition": _on_columns("logistic", "acquisition", "Acquisition only"),
    "dummy": Model(DummyLearner, "Dummy (prevalence)"),
    **{
        f"{head}-{features}": _on_columns(head, features, f"{name} on {FEATURES[features].title}")
        for head, name in _CLASSIFIERS.items()
        for features in _COLUMNS
    },
    **{f"{head}-fused": _on_fused(head, f"{name} on R_TC") for head, name in _CLASSIFIERS.items()},
}

MODELS: Mapping[str, Model] = _Models(_OWN)
"""What is fitted, by the name of its flag and of its rows in every table; also networks of other
packages, over which it does not iterate."""

_HAS: Mapping[str, Callable[[Examples], bool]] = {
    "encoder": lambda examples: examples.cls.shape[1] > 0,
    "random encoder": lambda examples: examples.cls_random is not None,
    "coordinates": lambda examples: examples.coordinates_mm is not None,
    "fc": lambda examples: examples.fc.shape[1] > 0,
    "series": lambda examples: examples.series is not None,
    "covariates": lambda examples: examples.covariates is not None,
    "motion": lambda examples: examples.mean_fd_mm is not None,
    "acquisition": lambda examples: examples.acquisition is not None,
}
_NEEDED = {
    "encoder": "encoded series",
    "random encoder": "series encoded without pre-training beside those of --encoder brainlm",
    "coordinates": "parcel coordinates",
    "fc": "connectivity matrices",
    "series": "parcel series",
    "covariates": "--covariates",
    "motion": "the mean framewise displacement of every run's sidecar",
    "acquisition": "scans that differ in volumes, repetition time, runs or the like",
}


def expand_models(networks: Sequence[str], features: Sequence[str]) -> tuple[str, ...]:
    """Return the keys of `MODELS` of ``--network`` and ``--features``, baselines excluded.

    A classifier stands for itself on each of the features (FC if none). UsageError for an
    unknown name.
    """
    known = (*_COLUMNS, "fused")
    for name in features:
        if name not in known:
            raise UsageError(f"--features {name!r} is unknown; there are {', '.join(known)}.")
    names = []
    for network in networks:
        seen = [f"{network}-{each}" for each in features or ("fc",)]
        found = seen if network in _CLASSIFIERS else [network]
        names += [name for name in found if name not in names]
    for name in names:
        if name not in MODELS and name not in NETWORKS:
            allowed = ", ".join(dict.fromkeys([*MODELS, *NETWORKS, *_CLASSIFIERS]))
            raise UsageError(f"--network {name!r} is unknown; there are {allowed}.")
    return tuple(names)


def title_of(name: str, encoder: str) -> str:
    """Return the title of a model, with that of ``--encoder`` where it reads its features."""
    return MODELS[name].title.format(encoder=encoder_title(encoder))


def families(names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Group models that share one training, in the order in which their families first appear."""
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault(MODELS[name].family or name, []).append(name)
    return tuple(tuple(each) for each in groups.values())


_OF_ENCODER = frozenset({"encoder", "random encoder"})
"""Needs of models that read what an encoder made of the series."""


def reads_encoder(name: str) -> bool:
    """Whether a model reads encoded series, or starts from the encoder's weights."""
    return tunes_encoder(name) or not _OF_ENCODER.isdisjoint(MODELS[name].needs)


def tunes_encoder(name: str) -> bool:
    """Whether a model is trained on from the weights of the pre-trained encoder."""
    family = MODELS[name].family
    return family is not None and NETWORKS[family].tunes_encoder


def needs_there(examples: Examples) -> frozenset[str]:
    """Return the needs of models that a cohort fulfils."""
    others = frozenset(examples.arrays) - frozenset(("cls", "cls_random"))
    return others | {need for need, is_there in _HAS.items() if is_there(examples)}


def missing_needs(name: str, examples: Examples) -> tuple[str, ...]:
    """Describe what a model needs and a cohort lacks."""
    there = needs_there(examples)
    return tuple(_needed(need) for need in MODELS[name].needs if need not in there)


def _needed(need: str) -> str:
    return _NEEDED.get(need) or MODALITIES[need].title


def baselines(examples: Examples) -> tuple[str, ...]:
    """Return the baselines whose needs a cohort fulfils."""
    return tuple(name for name in BASELINES if not missing_needs(name, examples))


def check_needs(names: Sequence[str], examples: Examples) -> None:
    """InputError if a cohort lacks what a model needs, with the models that could be fitted."""
    refuse_needs(names, needs_there(examples))


def refuse_adjusting(names: Sequence[str]) -> None:
    """UsageError for models that are no weighted sum of columns, with those that are.

    Networks, trees and nearest neighbours find the covariates again in the residuals.
    """
    for name in names:
        if MODELS[name].adjustment == "refused":
            able = [key for key, each in MODELS.items() if each.adjustment == "columns"]
            raise UsageError(
                f"--adjust cannot be used with {name}: networks, trees and nearest neighbours find "
                "the covariates again in the residuals. Choose other models with --network "
                f"({', '.join(able)}), or omit --adjust: added value beyond the covariates is "
                "tested without it."
            )


def refuse_needs(names: Sequence[str], there: AbstractSet[str]) -> None:
    """InputError as of `check_needs`, from the needs that are fulfilled (`needs_there`)."""
    for name in names:
        missing = [_needed(need) for need in MODELS[name].needs if need not in there]
        if missing:
            possible = ", ".join(key for key, each in MODELS.items() if set(each.needs) <= there)
            raise InputError(
                f"{name} needs {' and '.join(missing)}, which these participants lack. Provide "
                f"them, or choose from {possible}."
            )
