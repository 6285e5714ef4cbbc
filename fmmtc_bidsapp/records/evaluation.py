"""The results of a run: metrics, curves, calibration, tests and comparisons."""

from __future__ import annotations

from dataclasses import dataclass

from fmmtc_bidsapp.records.arrays import Floats

__all__ = [
    "AddedValue",
    "ArmDifference",
    "ArmRow",
    "CalibrationBin",
    "ComparisonRow",
    "Curve",
    "Difference",
    "Duplicate",
    "Evaluation",
    "Leak",
    "MetricRow",
    "OptimismRow",
    "PermutationTest",
]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Everything that is said of all models of one run."""

    metrics: tuple[MetricRow, ...]
    curves: tuple[Curve, ...]
    calibration: tuple[CalibrationBin, ...]
    verdict: str
    """One sentence; without a permutation run it says ``not tested``."""
    expected_half_width: float
    """Half width of the 95 % interval of an AUROC at this sample size (Hanley-McNeil)."""
    tests: tuple[PermutationTest, ...] = ()
    """Of every model, also of those that were not tested."""
    comparison: tuple[ComparisonRow, ...] = ()
    arms: tuple[ArmRow, ...] = ()
    """Empty without ``--subset-by``."""
    arm_differences: tuple[ArmDifference, ...] = ()
    selection: str = "nested"
    """``--selection`` of the run."""
    optimism: tuple[OptimismRow, ...] = ()
    """Empty with nested selection alone."""
    duplicates: tuple[Duplicate, ...] = ()


@dataclass(frozen=True)
class MetricRow:
    """One metric of one model; a row of ``_metrics.tsv``. NaN where it cannot be had."""

    model: str
    metric: str
    """``auroc``, ``average_precision``, ``balanced_accuracy``, ``f1_macro``, ``mcc``,
    ``sensitivity``, ``specificity``, ``brier``, ``brier_skill``, ``log_loss``,
    ``log_loss_skill``, ``calibration_slope``, ``calibration_intercept``, ``calibration_error``; on
    new people ``brier_skill_own_share`` and ``log_loss_skill_own_share`` as well."""
    mean: float
    """Mean of the within-fold values over folds and repeats: the headline."""
    mean_low: float
    mean_high: float
    """95 % Nadeau-Bengio corrected interval of the mean."""
    fold_sd: float
    """SD over folds, as the paper prints it."""
    pooled: float
    """The metric of all out-of-fold predictions together, mean over repeats; an AUROC counts the
    pairs of one fold."""
    pooled_low: float
    pooled_high: float
    """95 % bootstrap interval (participants; within outcome for metrics of each outcome), given
    these fits. ``calibration_error`` has none."""
    pooled_if_calibrated: float = float("nan")
    """Of ``calibration_error``: what chance alone makes of probabilities that are right."""
    pooled_if_calibrated_p: float = float("nan")
    """Share of such draws whose error is as large as the one found."""
    bound: float = float("nan")
    """Of an AUROC that has no interval because its folds or draws are all equal: the lowest true
    AUROC that such people would still give."""


@dataclass(frozen=True, eq=False)
class Curve:
    """A line of ``_curves.tsv``: ROC or precision-recall of one fold, or the mean over folds."""

    model: str
    kind: str
    """``roc`` (x false positive rate, y true positive rate) or ``pr`` (x recall, y precision)."""
    x: Floats
    y: Floats
    repeat: int | None = None
    fold: int | None = None
    """None of the mean over folds."""


@dataclass(frozen=True)
class CalibrationBin:
    """A point of the reliability diagram; five bins of equal mass."""

    model: str
    stage: str
    """``before`` or ``after`` calibration."""
    mean_probability: float
    observed_share: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class PermutationTest:
    """Whether a model predicts better than with shuffled outcomes."""

    model: str
    auroc: float
    """The headline: mean of the within-fold values over folds and repeats."""
    n_permutations: int
    """Shuffles that the p is of; 0 where the model was not tested."""
    p: float
    """(b + 1) / (m + 1); NaN where the model was not tested."""
    p_adjusted: float
    """The same against the best of all tested models in each shuffle."""
    verdict: str
    """Of `fmmtc_bidsapp.verdict.verdict_of_steps`: which step is reached, and which is not."""
    added: tuple[AddedValue, ...] = ()
    """The steps beyond the first, tested or not; empty where the first was not tested."""
    not_tested: str = ""
    """Why the model was not tested; empty where it was."""
    n_people: int | None = None
    """People who were predicted out of fold."""
    n_folds: int | None = None
    """Folds that could be fitted, over all repeats."""
    n_folds_planned: int | None = None


@dataclass(frozen=True)
class AddedValue:
    """Whether the brain adds to what is known without it: a step of the verdict."""

    step: str
    """Of `fmmtc_bidsapp.verdict.STEPS`."""
    reference: tuple[str, ...] = ()
    """Columns that the brain is held against."""
    auroc_reference: float = float("nan")
    """Of these columns alone, out of fold."""
    auroc_both: float = float("nan")
    """Of these and the brain's out-of-fold score."""
    p: float = float("nan")
    """(b + 1) / (m + 1), against brains exchanged between people."""
    p_adjusted: float = float("nan")
    """The same against the best of all tested models in each exchange."""
    reached: bool | None = None
    """None where the step could not be tested."""
    reason: str = ""
    """Why not."""

    @property
    def gain(self) -> float:
        """What the brain adds to the AUROC."""
        return self.auroc_both - self.auroc_reference


@dataclass(frozen=True)
class ArmRow:
    """One metric of one model among the people of one arm, pooled over folds."""

    model: str
    metric: str
    arm: str
    n: int
    n_positive: int
    value: float
    low: float
    high: float
    """95 % bootstrap interval (participants within arm, and within outcome for metrics of each
    outcome), given these fits."""


@dataclass(frozen=True)
class ArmDifference:
    """One arm's metric minus another's."""

    model: str
    metric: str
    arm: str
    other: str
    difference: float
    low: float
    high: float
    """95 % bootstrap interval; the arms hold different people, drawn independently."""


@dataclass(frozen=True)
class OptimismRow:
    """What choosing the epoch on the test fold adds to a metric."""

    model: str
    metric: str
    nested: float
    """Mean over folds of the honest procedure, of the training that the other protocols share."""
    last_epoch: float
    """Mean over folds without any choice of epoch."""
    best_on_test: float
    """Mean over folds with the epoch chosen on the test fold: optimistic."""
    gap: float
    """``best_on_test`` minus ``nested``."""


@dataclass(frozen=True)
class Difference:
    """The main model against another on the same folds."""

    model: str
    """The other model."""
    metric: str
    difference: float
    """Mean over folds and repeats of main model minus the other."""
    low: float
    high: float
    """95 % Nadeau-Bengio corrected interval."""
    p: float
    """Two-sided p of the corrected resampled t-test."""


@dataclass(frozen=True)
class ComparisonRow:
    """One metric of one line of a table of models; a row of ``_comparison.tsv``.

    NaN where a figure cannot be had, with the reason in `note`.
    """

    table: str | None
    """Of the paper: ``Table 1``, ``Table 3``, ``Table 4``, ``Fig. 2a``; None for a model that is in
    none of them."""
    row: int | None
    """Place in that table, from 1."""
    model: str
    title: str
    """As a reader calls the line."""
    selection: str
    """What chose the epoch: ``nested``, ``last-epoch`` or ``best-on-test`` (optimistic)."""
    train_on: str | None
    """Arm of the training people; None where everybody is in one cross-validation."""
    test_on: str | None
    """Arm of the people predicted."""
    metric: str
    mean: float
    mean_low: float
    mean_high: float
    fold_sd: float
    pooled: float
    pooled_low: float
    pooled_high: float
    """As in `MetricRow`."""
    difference: float
    difference_low: float
    difference_high: float
    difference_p: float
    """As in `Difference`; NaN for the main model itself."""
    difference_p_holm: float
    """`difference_p` adjusted by Holm's method for all differences of the table."""
    note: str | None = None
    """Why there are no figures, or what to know of them."""


@dataclass(frozen=True)
class Duplicate:
    """Two people whose connectomes are the same scan for all one can tell."""

    first: str
    second: str
    correlation: float
    """Over the edges that both have."""
    same_scan: bool = True
    """Whether the scan is the same for all one can tell; else the pair is far more alike than all
    others of the cohort, as two scans of one person are."""


@dataclass(frozen=True)
class Leak:
    """A covariate that predicts the outcome almost perfectly."""

    name: str
    reason: str
