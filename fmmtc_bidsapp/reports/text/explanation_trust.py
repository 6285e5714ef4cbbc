"""Reliability of the maps: each figure with its meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fmmtc_bidsapp.reports.data.number_format import number

__all__ = ["SOURCE_TITLES", "trust_rows"]

SOURCE_TITLES = {"series": "time series", "connectivity": "connectivity"}
_ALIKE, _PARTLY = 0.7, 0.4
"""Spearman correlations from which maps agree, and from which they do in part."""
_FEW_NULLS = 50
_INTEGRATED = "integrated gradients"
_BASELINES = {
    "zero": "zero",
    "mean": "the mean training person",
    "surrogate": "a phase-randomised surrogate",
}


def trust_rows(
    models: Mapping[str, Mapping[str, Any]],
    names: Mapping[str, str],
    common_sidecar: Mapping[str, Any],
) -> list[dict[str, str]]:
    """Format every check of the maps; a check that was not made has no row."""
    common = {key: common_sidecar[key] for key in ("Training", "Repeat") if key in common_sidecar}
    return [
        {"model": names[model], "what": what, "value": value, "words": words}
        for model, about in models.items()
        for check in _CHECKS
        for what, value, words in check({**common, **about})
    ]


def _what(about: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    folds = about.get("Folds")
    if folds is None:
        return
    whole = {"training": about.get("Training"), "repeat": about.get("Repeat")}
    value = ", ".join(
        [f"{name}: {_part(text)}" for name, text in whole.items() if text] + [f"folds: {folds}"]
    )
    said = []
    if any(text and not str(text).endswith(" of 1") for text in whole.values()):
        said.append("the others were not explained")
    done, _, wanted = str(folds).partition(" of ")
    if wanted and done != wanted:
        said.append("the other folds could not be explained, and their people are not in the maps")
    if about.get("Method") == _INTEGRATED:
        said.append("time series: the first window of the first run of a person")
    yield "What was explained", value, "; ".join(said) or "all fits"


def _part(text: object) -> str:
    return "the only one" if str(text).endswith(" of 1") else str(text)


def _stability(about: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for source, found in about.get("Stability", {}).items():
        rho, jaccard = found.get("Spearman"), found.get("TopDecileJaccard")
        if rho is not None:
            yield (
                f"Stability over folds, {SOURCE_TITLES.get(source, source)}",
                f"Spearman {number(rho)}, Jaccard of the top tenth {number(jaccard)}",
                _agree(float(rho), "folds"),
            )


def _agreement(about: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    own = _BASELINES.get(str(about.get("Baseline")), str(about.get("Baseline")))
    for other, rho in about.get("Agreement", {}).items():
        if rho is not None:
            yield (
                f"Baseline {own} against {_BASELINES.get(other, other)}",
                f"Spearman {number(rho)}{_of_people(about.get('AgreementPeople'), other)}",
                _agree(float(rho), "baselines"),
            )


def _of_people(n: object, baseline: str) -> str:
    """State how many people were compared with another baseline."""
    own = n.get(baseline) if isinstance(n, Mapping) else n
    return "" if own is None else f", of {number(own, 0)} people"


def _agree(rho: float, who: str) -> str:
    if rho >= _ALIKE:
        return f"{who} agree"
    if rho >= _PARTLY:
        return f"{who} agree in part: interpret networks rather than single parcels"
    return f"{who} disagree: do not interpret single parcels"


def _convergence(about: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    whole, done = about.get("Maps"), about.get("Converged")
    if not whole or done is None:
        return
    words = "every integral is complete to 1 %"
    if done < whole:
        words = "those whose integral is not complete to 1 % are left out of the maps"
    steps = f", {number(about.get('MostSteps'), 0)} steps at most" if "MostSteps" in about else ""
    yield "Convergence of the integral", f"{done} of {whole} maps{steps}", words


def _gap(about: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    gap = about.get("MedianGap")
    if gap is not None:
        words = (
            "median over people of the difference between the explained function and the "
            "prediction of its training run"
        )
        yield "Logit explained against logit predicted", number(gap), words


def _null_maps(about: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    n = about.get("NullMaps")
    if n is None:
        return
    words = "z is relative to these models fitted to shuffled outcomes"
    if n == 0:
        words = "no z: no null maps were computed"
    elif n < _FEW_NULLS:
        words = f"{words}; with so few, z is imprecise and its limit exceeds 1.96"
    yield "Maps of shuffled outcomes", number(n, 0), words


_CHECKS = (_what, _stability, _agreement, _convergence, _gap, _null_maps)
