"""Descriptions of the columns of all group tables."""

from __future__ import annotations

__all__ = ["describe"]

_COLUMNS = {
    "step": "What was asked of a person.",
    "n": "People.",
    "participant_id": "Participant.",
    "session_id": "Session, n/a where the dataset has none.",
    "stage": "Where the person was left out: table, series, quality, encode, or training "
    "(a model is not applied to those it was trained on).",
    "reason": "Why.",
    "repeat": "Repeat of the outer cross-validation.",
    "fold": "Outer fold in which the person was tested.",
    "seed": "Which of the trainings that differ in their seed.",
    "y_true": "Outcome: 1 positive, 0 negative, n/a unknown.",
    "logit": "Output of the model before calibration; with several trainings the mean of their "
    "calibrated log odds.",
    "probability_raw": "Probability before calibration.",
    "probability": "Calibrated probability of the positive outcome.",
    "probability_low": "2.5 % quantile over refits; n/a with one fit.",
    "probability_high": "97.5 % quantile over refits; n/a with one fit.",
    "y_pred": "1 where the probability reaches the threshold.",
    "threshold": "Probability from which a person counts as positive.",
    "n_runs": "Runs merged into the example.",
    "qc_flag": "usable, or why a kept run was not.",
    "out_of_distribution": "In what scan or covariates lie outside the training's; n/a within.",
    "run": "File of the run; n/a where the measure is of all runs together.",
    "measure": "tr_s; n_volumes; mean_fd_mm; connectivity_distance, RMS of Fisher's z from the "
    "mean connectome of the training people; or covariate_ and the name of a column.",
    "found": "Of this scan or person; n/a where it is not known, and of text.",
    "training_low": "Least among the training scans; of connectivity_distance 0.",
    "training_high": "Most among them; of connectivity_distance what 99 % of the people keep.",
    "outside": "In words, where it lies outside; n/a within, or where one is not known.",
    "model": "Name of the model.",
    "metric": "Name of the metric.",
    "mean": "Mean of the within-fold values over folds and repeats: the headline.",
    "mean_low": "Lower end of its 95 % Nadeau-Bengio corrected interval; of the random row, of "
    "what 95 % of the draws reach.",
    "mean_high": "Upper end of it.",
    "bound": "Of an auroc without an interval because its folds, or all bootstrap draws, are "
    "equal: the lowest true AUROC that such people would still give in 2.5 % of cohorts.",
    "fold_sd": "SD over folds.",
    "pooled": "Metric of all out-of-fold predictions together, mean over repeats; an AUROC counts "
    "the pairs of one fold.",
    "pooled_low": "Lower end of its 95 % bootstrap interval, given these fits. People are drawn; "
    "within outcome for auroc, balanced_accuracy, sensitivity and specificity. Of "
    "calibration_error n/a.",
    "pooled_high": "Upper end of its 95 % bootstrap interval, given these fits.",
    "pooled_if_calibrated": "Of calibration_error: what to expect by chance alone where every "
    "probability is right (parametric bootstrap). Compare pooled with it, not with 0.",
    "pooled_if_calibrated_p": "Share of such draws whose error is as large as pooled.",
    "n_permutations": "Shuffles of the outcome that the p is of; 0 where the model was not tested. "
    "On the auroc rows alone.",
    "p": "(b + 1) / (m + 1): how often shuffled outcomes gave an AUROC as high.",
    "p_adjusted": "The same against the best of all tested models in each shuffle.",
    "n_people": "People predicted out of fold; on the auroc rows alone.",
    "n_folds": "Folds that could be fitted, over all repeats; on the auroc rows alone.",
    "verdict": "evidence of prediction: the model predicts (p_adjusted 0.05 or less, AUROC above "
    "0.5), and adds to covariates, and to covariates, motion and acquisition together, wherever "
    "that could be tested. predicts; not shown beyond ...: it predicts, and the steps that are "
    "named are not reached. no evidence of prediction: it does not predict, or is a model of no "
    "brain activity that others are held against. not tested: no shuffles, or not every fold.",
    "last_epoch": "Mean over folds without any choice of the epoch; n/a unless --selection asked.",
    "best_on_test": "Mean over folds with the epoch chosen on the test fold: optimistic.",
    "nested_uncalibrated": "Mean over folds of the nested training, decided as the published "
    "protocol decides: without calibration, at a probability of 0.5.",
    "optimism": "best_on_test minus nested_uncalibrated, of the same training on the same folds: "
    "what choosing on the test fold adds.",
    "table": "Table of the paper that the line belongs to; n/a for a model in none of them.",
    "row": "Line of that table.",
    "title": "The line in words.",
    "selection": "What chose the epoch: nested (inner folds), last-epoch (nothing) or best-on-test "
    "(the test fold, optimistic).",
    "train_on": "Arm of the training people; n/a where everybody is in one cross-validation.",
    "test_on": "Arm of the people predicted; the same arm means cross-validation within it.",
    "difference": "Mean over folds of the main model minus this one, on the same folds.",
    "difference_low": "Lower end of its 95 % Nadeau-Bengio corrected interval.",
    "difference_high": "Upper end of it.",
    "difference_p": "Two-sided p of the corrected resampled t-test.",
    "difference_p_holm": "The same, adjusted by Holm's method for all differences of this table.",
    "note": "Why a line has no figures, or what to know of them.",
    "arm": "Value of the --subset-by column.",
    "other": "The arm that is subtracted, n/a where the row is of one arm; of an edge its second "
    "parcel, as index.",
    "n_positive": "People with the positive outcome.",
    "n_negative": "People with the other outcome.",
    "value": "Metric of the arm, pooled over folds, mean over repeats; or arm minus other.",
    "low": "Lower end of the 95 % interval.",
    "high": "Upper end of the 95 % interval.",
    "kind": "roc: false against true positive rate; pr: recall against precision.",
    "x": "Horizontal value of the curve.",
    "y": "Vertical value of the curve.",
    "mean_probability": "Mean predicted probability in the bin.",
    "observed_share": "Share of positives in the bin.",
    "epoch": "Epoch of training, from 1.",
    "train_loss": "Mean binary cross-entropy of the training rows in the refit.",
    "validation_loss": "The same over the inner validation rows, mean over inner folds.",
    "chosen": "Whether the training on all rows ended here: after as many steps of the optimiser "
    "as the inner folds took to their least loss.",
    "modality": "series, connectivity, or the name of another package's modality.",
    "share": "Mean over people of the part of |attribution| that falls to it.",
    "auroc_lost": "Mean over folds of the AUROC of held-out people minus that with the stream "
    "replaced by its training mean.",
    "auroc_lost_low": "Lower end of its 95 % Nadeau-Bengio corrected interval.",
    "auroc_lost_high": "Upper end of it.",
    "null_share": "Mean share of models that were fitted to shuffled outcomes; n/a without them.",
    "null_low": "2.5 % quantile of them.",
    "null_high": "97.5 % quantile of them.",
    "n_null": "Shuffles behind null_share.",
    "source": "series or connectivity, what is attributed to.",
    "level": "parcel, network, subnetwork, hemisphere, or edge (the largest).",
    "name": "Of the parcel or group; of an edge both parcels.",
    "index": "Label of the parcel in the atlas, or without its table the place in the series, from "
    "1; of an edge its first parcel.",
    "attribution": "Mean over people and folds of |attribution|, as a share of the map's total; of "
    "groups the mean of their parcels over the mean of all (1 is average).",
    "signed": "The same of the signed attribution: positive speaks for the positive outcome.",
    "sign_consistency": "Share of people in whom the sign is that of signed.",
    "z": "Against maps of models that were fitted to shuffled outcomes; n/a without them.",
}
"""What the columns of all tables mean; a sidecar describes those its table has."""

_BY_ARM = ("n", "n_positive", "n_negative")
"""Columns of the eligibility table that there is one of for every arm."""


def describe(column: str) -> dict[str, str]:
    """Describe a column for a sidecar; those of an arm are named after it.

    Parameters
    ----------
    column
        Its name; ``n_positive_arm-placebo`` is the count of an arm.

    Returns
    -------
    dict
        ``Description``; empty for a column that nobody described.
    """
    if column in _COLUMNS:
        return {"Description": _COLUMNS[column]}
    counted, is_of_arm, arm = column.partition("_arm-")
    if not is_of_arm or counted not in _BY_ARM:
        return {}
    return {"Description": f"{_COLUMNS[counted].rstrip('.')}, of {arm}."}
