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
    MetricColumn(
        "auroc", "AUROC", "Probability that a positive ranks above a negative; chance 0.5"
    ),
    MetricColumn(
        "balanced_accuracy", "Balanced accuracy", "Mean of sensitivity and specificity; chance 0.5"
    ),
    MetricColumn("mcc", "MCC", "Correlation of predicted and true outcomes; chance 0"),
    MetricColumn("f1_macro", "F1 (macro)", "Mean F1 of both outcomes"),
    MetricColumn("sensitivity", "Sensitivity", "Share of positives that are called positive"),
    MetricColumn("specificity", "Specificity", "Share of negatives that are called negative"),
    MetricColumn(
        "average_precision",
        "Average precision",
        "Mean precision over recall; chance is the share of positives",
    ),
    MetricColumn("brier", "Brier score", "Mean squared error of the probability; lower is better"),
    MetricColumn(
        "brier_skill",
        "Brier skill",
        "Gain over predicting the training share of positives; 0 is none",
    ),
    MetricColumn(
        "brier_skill_own_share",
        "Brier skill, own share",
        "Gain over predicting the share of positives among these people; 0 is none",
    ),
    MetricColumn("log_loss", "Log loss", "Mean negative log likelihood; lower is better"),
    MetricColumn("log_loss_skill", "Log loss skill", "As the Brier skill"),
    MetricColumn(
        "log_loss_skill_own_share", "Log loss skill, own share", "As the Brier skill, own share"
    ),
    MetricColumn("calibration_slope", "Calibration slope", "Over all folds; ideal 1"),
    MetricColumn("calibration_intercept", "Calibration intercept", "Over all folds; ideal 0"),
    MetricColumn(
        "calibration_error",
        "Calibration error",
        "Over all folds, five bins; compare with the value expected if calibrated",
    ),
)
