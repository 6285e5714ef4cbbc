"""The columns of all group tables, declared once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fmmtc_bidsapp.bidsio.files.tsv import Column

__all__ = ["COLUMNS", "columns_of_arms"]

COLUMNS: Mapping[str, Column] = {
    "step": Column("What was asked of a person."),
    "n": Column("People."),
    "participant_id": Column("Participant."),
    "session_id": Column("Session, n/a where the dataset has none."),
    "stage": Column(
        "Where the person was left out: table, series, quality, encode, or training "
        "(a model is not applied to those it was trained on)."
    ),
    "reason": Column("Why."),
    "repeat": Column("Repeat of the outer cross-validation."),
    "fold": Column("Outer fold in which the person was tested."),
    "seed": Column("Which of the trainings that differ in their seed."),
    "y_true": Column("Outcome: 1 positive, 0 negative, n/a unknown."),
    "logit": Column(
        "Output of the model before calibration; with several trainings the mean of their "
        "calibrated log odds."
    ),
    "probability_raw": Column("Probability before calibration."),
    "probability": Column("Calibrated probability of the positive outcome."),
    "probability_low": Column("2.5 % quantile over refits; n/a with one fit."),
    "probability_high": Column("97.5 % quantile over refits; n/a with one fit."),
    "y_pred": Column("1 where the probability reaches the threshold."),
    "threshold": Column("Probability from which a person counts as positive."),
    "n_runs": Column("Runs merged into the example."),
    "qc_flag": Column("usable, or why a kept run was not."),
    "out_of_distribution": Column(
        "In what scan or covariates lie outside the training's; n/a within."
    ),
    "run": Column("File of the run; n/a where the measure is of all runs together."),
    "measure": Column(
        "tr_s; n_volumes; mean_fd_mm; connectivity_distance, RMS of Fisher's z from the "
        "mean connectome of the training people; or covariate_ and the name of a column."
    ),
    "found": Column("Of this scan or person; n/a where it is not known, and of text."),
    "training_low": Column("Least among the training scans; of connectivity_distance 0."),
    "training_high": Column(
        "Most among them; of connectivity_distance what 99 % of the people keep."
    ),
    "outside": Column("In words, where it lies outside; n/a within, or where one is not known."),
    "model": Column("Name of the model."),
    "metric": Column("Name of the metric."),
    "mean": Column("Mean of the within-fold values over folds and repeats: the headline."),
    "mean_low": Column(
        "Lower end of its 95 % Nadeau-Bengio corrected interval; of the random row, of "
        "what 95 % of the draws reach."
    ),
    "mean_high": Column("Upper end of it."),
    "bound": Column(
        "Of an auroc without an interval because its folds, or all bootstrap draws, are "
        "equal: the lowest true AUROC that such people would still give in 2.5 % of cohorts."
    ),
    "fold_sd": Column("SD over folds."),
    "pooled": Column(
        "Metric of all out-of-fold predictions together, mean over repeats; an AUROC counts "
        "the pairs of one fold."
    ),
    "pooled_low": Column(
        "Lower end of its 95 % bootstrap interval, given these fits. People are drawn; "
        "within outcome for auroc, balanced_accuracy, sensitivity and specificity. Of "
        "calibration_error n/a."
    ),
    "pooled_high": Column("Upper end of its 95 % bootstrap interval, given these fits."),
    "pooled_if_calibrated": Column(
        "Of calibration_error: what to expect by chance alone where every "
        "probability is right (parametric bootstrap). Compare pooled with it, not with 0."
    ),
    "pooled_if_calibrated_p": Column("Share of such draws whose error is as large as pooled."),
    "n_permutations": Column(
        "Shuffles of the outcome that the p is of; 0 where the model was not tested. "
        "On the auroc rows alone."
    ),
    "p": Column("(b + 1) / (m + 1): how often shuffled outcomes gave an AUROC as high."),
    "p_adjusted": Column("The same against the best of all tested models in each shuffle."),
    "n_people": Column("People predicted out of fold; on the auroc rows alone."),
    "n_folds": Column("Folds that could be fitted, over all repeats; on the auroc rows alone."),
    "verdict": Column(
        "evidence of prediction: the model predicts (p_adjusted 0.05 or less, AUROC above 0.5),"
        " and adds to covariates, and to covariates, motion and acquisition together, wherever "
        "that could be tested. predicts; not shown beyond ...: it predicts, and the steps that "
        "are named are not reached. no evidence of prediction: it does not predict, or is a "
        "model of no brain activity that others are held against. not tested: no shuffles, or "
        "not every fold."
    ),
    "last_epoch": Column(
        "Mean over folds without any choice of the epoch; n/a unless --selection asked."
    ),
    "best_on_test": Column("Mean over folds with the epoch chosen on the test fold: optimistic."),
    "nested_uncalibrated": Column(
        "Mean over folds of the nested training, decided as the published "
        "protocol decides: without calibration, at a probability of 0.5."
    ),
    "optimism": Column(
        "best_on_test minus nested_uncalibrated, of the same training on the same folds: "
        "what choosing on the test fold adds."
    ),
    "table": Column(
        "Table of the paper that the line belongs to; n/a for a model in none of them."
    ),
    "row": Column("Line of that table."),
    "title": Column("The line in words."),
    "selection": Column(
        "What chose the epoch: nested (inner folds), last-epoch (nothing) or best-on-test "
        "(the test fold, optimistic)."
    ),
    "train_on": Column(
        "Arm of the training people; n/a where everybody is in one cross-validation."
    ),
    "test_on": Column(
        "Arm of the people predicted; the same arm means cross-validation within it."
    ),
    "difference": Column("Mean over folds of the main model minus this one, on the same folds."),
    "difference_low": Column("Lower end of its 95 % Nadeau-Bengio corrected interval."),
    "difference_high": Column("Upper end of it."),
    "difference_p": Column("Two-sided p of the corrected resampled t-test."),
    "difference_p_holm": Column(
        "The same, adjusted by Holm's method for all differences of this table."
    ),
    "note": Column("Why a line has no figures, or what to know of them."),
    "arm": Column("Value of the --subset-by column."),
    "other": Column(
        "The arm that is subtracted, n/a where the row is of one arm; of an edge its second "
        "parcel, as index."
    ),
    "n_positive": Column("People with the positive outcome."),
    "n_negative": Column("People with the other outcome."),
    "value": Column("Metric of the arm, pooled over folds, mean over repeats; or arm minus other."),
    "low": Column("Lower end of the 95 % interval."),
    "high": Column("Upper end of the 95 % interval."),
    "kind": Column("roc: false against true positive rate; pr: recall against precision."),
    "x": Column("Horizontal value of the curve."),
    "y": Column("Vertical value of the curve."),
    "mean_probability": Column("Mean predicted probability in the bin."),
    "observed_share": Column("Share of positives in the bin."),
    "epoch": Column("Epoch of training, from 1."),
    "train_loss": Column("Mean binary cross-entropy of the training rows in the refit."),
    "validation_loss": Column("The same over the inner validation rows, mean over inner folds."),
    "chosen": Column(
        "Whether the training on all rows ended here: after as many steps of the optimiser "
        "as the inner folds took to their least loss."
    ),
    "modality": Column("series, connectivity, or the name of another package's modality."),
    "share": Column("Mean over people of the part of |attribution| that falls to it."),
    "auroc_lost": Column(
        "Mean over folds of the AUROC of held-out people minus that with the stream "
        "replaced by its training mean."
    ),
    "auroc_lost_low": Column("Lower end of its 95 % Nadeau-Bengio corrected interval."),
    "auroc_lost_high": Column("Upper end of it."),
    "null_share": Column(
        "Mean share of models that were fitted to shuffled outcomes; n/a without them."
    ),
    "null_low": Column("2.5 % quantile of them."),
    "null_high": Column("97.5 % quantile of them."),
    "n_null": Column("Shuffles behind null_share."),
    "source": Column("series or connectivity, what is attributed to."),
    "level": Column("parcel, network, subnetwork, hemisphere, or edge (the largest)."),
    "name": Column("Of the parcel or group; of an edge both parcels."),
    "index": Column(
        "Label of the parcel in the atlas, or without its table the place in the series, from "
        "1; of an edge its first parcel."
    ),
    "attribution": Column(
        "Mean over people and folds of |attribution|, as a share of the map's total; of "
        "groups the mean of their parcels over the mean of all (1 is average)."
    ),
    "signed": Column(
        "The same of the signed attribution: positive speaks for the positive outcome."
    ),
    "sign_consistency": Column("Share of people in whom the sign is that of signed."),
    "z": Column("Against maps of models that were fitted to shuffled outcomes; n/a without them."),
}

_BY_ARM = ("n", "n_positive", "n_negative")
"""Columns of the eligibility table that every arm has too."""


def columns_of_arms(names: Iterable[str]) -> dict[str, Column]:
    """Return the declarations of columns such as ``n_positive_arm-placebo``."""
    return {
        f"{counted}_arm-{arm}": Column(f"{COLUMNS[counted].description.rstrip('.')}, of {arm}.")
        for name in names
        for counted, is_of_arm, arm in [name.partition("_arm-")]
        if is_of_arm and counted in _BY_ARM
    }
