"""Names and hints of the metrics in report tables."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["HEADLINE", "METRICS", "MetricColumn"]

HEADLINE = "auroc"


class MetricColumn(NamedTuple):
    """A metric as the tables of a report head it."""

    column: str
    name: str
    hint: str


METRICS = (
    MetricColumn("auroc", "AUROC", "Chance that a positive ranks above a negative; guessing 0.5"),
    MetricColumn("balanced_accuracy", "Balanced accuracy", "Mean of both rates; guessing 0.5"),
    MetricColumn("mcc", "MCC", "Correlation of predicted and true; guessing 0"),
    MetricColumn("f1_macro", "F1 (macro)", "Mean F1 of both classes"),
    MetricColumn("sensitivity", "Sensitivity", "Positives found"),
    MetricColumn("specificity", "Specificity", "Negatives found"),
    MetricColumn("average_precision", "Average precision", "Guessing gives the share of positives"),
    MetricColumn("brier", "Brier score", "Squared error of the probability; smaller is better"),
    MetricColumn(
        "brier_skill", "Brier skill", "Against the training share of positives; 0 is no gain"
    ),
    MetricColumn(
        "brier_skill_own_share",
        "Brier skill, own share",
        "Against the share of positives among these people; 0 is no gain",
    ),
    MetricColumn("log_loss", "Log loss", "Smaller is better"),
    MetricColumn("log_loss_skill", "Log loss skill", "As the Brier skill"),
    MetricColumn(
        "log_loss_skill_own_share", "Log loss skill, own share", "As the Brier skill, own share"
    ),
    MetricColumn("calibration_slope", "Calibration slope", "Of all folds together; ideal 1"),
    MetricColumn(
        "calibration_intercept", "Calibration intercept", "Of all folds together; ideal 0"
    ),
    MetricColumn(
        "calibration_error",
        "Calibration error",
        "Of all folds together, five bins; ideal is what chance alone makes of it",
    ),
)
