"""The model card of a bundle, filled from the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fmmtc_bidsapp._version import __version__
from fmmtc_bidsapp.records import MetricRow

__all__ = ["model_card"]

_SHOWN = ("auroc", "balanced_accuracy", "mcc", "brier")


def model_card(
    about: Mapping[str, Any], metrics: Sequence[MetricRow], main: str, verdict: str
) -> str:
    """Say what the model is, who it was trained on, how well the procedure did, and its limits.

    Parameters
    ----------
    about
        Sidecar of the metrics table.
    metrics
        Of all models.
    main
        Name of the model in the bundle.
    verdict
        Whether there is evidence of prediction.
    """
    names = about["ModelNames"]
    rows = [
        f"| {names[row.model]} | {row.metric} | {row.mean:.2f} "
        f"({row.mean_low:.2f} to {row.mean_high:.2f}) |"
        for row in metrics
        if row.metric in _SHOWN
    ]
    return "\n".join(
        [
            f"# Model card: {names[main]}, {about['Target']} = {about['PositiveValue']}",
            "",
            "Research use only; not a medical device. A response under any treatment is prognosis,",
            "not prediction of a drug's effect.",
            "",
            f"- Made by fmmtc_bidsapp {__version__}.",
            f"- Predicts the probability that {about['Target']} is {about['PositiveValue']}.",
            f"- Trained on {about['N']} people, {about['NPositive']} of them positive.",
            f"- Atlas {about['Atlas']}; encoder {about['Encoder']} (weights sha256 "
            f"{about['EncoderDigest']}); series normalised by {about['Normalisation']}.",
            f"- Verdict: {verdict}",
            *([f"- Note: {about['Notice']}"] if about["Notice"] else []),
            "",
            "The figures are those of the whole procedure, cross-validated; the model in this",
            "folder is the same procedure on everyone and was never tested itself. Intervals are",
            "95 %, Nadeau-Bengio corrected.",
            "",
            "| model | metric | mean over folds (interval) |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )
