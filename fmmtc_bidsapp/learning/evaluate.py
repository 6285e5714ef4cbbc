"""All results of one run, from its predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fmmtc_bidsapp.learning.estimators.models import MODELS, title_of
from fmmtc_bidsapp.learning.evaluation.added_value import brain_scores
from fmmtc_bidsapp.learning.evaluation.compare import holm
from fmmtc_bidsapp.learning.evaluation.performance import evaluate
from fmmtc_bidsapp.learning.evaluation.subgroups import judge_arms
from fmmtc_bidsapp.learning.evaluation.verdicts import (
    added_values,
    judge_permutations,
    verdict_sentence,
    with_people,
)
from fmmtc_bidsapp.learning.metrics.intervals import Draws, draw_people
from fmmtc_bidsapp.learning.paper.best_on_test import BEST_ON_TEST, LAST_EPOCH, optimism_rows
from fmmtc_bidsapp.learning.paper.comparison_table import comparison_rows, domain_lines, plain_lines
from fmmtc_bidsapp.learning.paper.random_baseline import RANDOM, random_rows
from fmmtc_bidsapp.learning.paper.tables import TABLE_4, Domain, PaperRow
from fmmtc_bidsapp.learning.seeds import BOOTSTRAP, derive_seed
from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import (
    ArmDifference,
    ArmRow,
    ComparisonRow,
    Duplicate,
    Evaluation,
    Examples,
    Floats,
    Fold,
    FoldPredictions,
    Ints,
    OptimismRow,
    PermutationTest,
)

__all__ = ["DomainFits", "judge", "model_titles"]

_NO_ARMS = "needs --subset-by: a column of arms or drugs"


@dataclass(frozen=True, eq=False)
class DomainFits:
    """Table 4 before it is evaluated."""

    domains: tuple[Domain, ...]
    models: tuple[str, ...]
    """What was to be fitted in every cell."""
    predictions: tuple[FoldPredictions, ...]


def judge(
    predictions: Sequence[FoldPredictions],
    examples: Examples,
    options: EvaluationOptions,
    *,
    main: str,
    seed: int,
    encoder: str = "brainlm",
    permuted: Mapping[str, Floats] | None = None,
    exchanged: Mapping[str, Floats] | None = None,
    folds: Sequence[Fold] = (),
    untested: Mapping[str, str] | None = None,
    published: Sequence[Mapping[str, FoldPredictions]] = (),
    trainings: Sequence[FoldPredictions] = (),
    selection: str = "nested",
    rows: Sequence[PaperRow] = (),
    across: DomainFits | None = None,
    duplicates: Sequence[Duplicate] = (),
) -> Evaluation:
    """Evaluate the models of one run.

    `predictions` hold every fold of every model, its trainings merged; `trainings` before that,
    of which `published` (of `publish_together`) compares with the first. `permuted` are
    (permutation,) headline AUROCs on shuffled outcomes and `exchanged` (permutation, person)
    scores of `carry_back`; without them nothing is tested. `folds` are the planned ones: a
    model that lacks one is not tested; `untested` are reasons of models without shuffles.
    `rows` are the paper's tables, `across` its Table 4.
    """
    y = examples.y
    guesses = random_rows(_folds(predictions), y, seed)
    judged = evaluate(predictions, y, options, seed)
    observed = {each.model: each.mean for each in judged.metrics if each.metric == "auroc"}
    planned = list(folds) or _folds(predictions)
    tests = _tests(predictions, examples, planned, observed, permuted, exchanged, untested)
    shown = _shown(selection)
    arms, differences = _arms(predictions, examples, options, seed)
    lines = plain_lines(
        [*rows, *_other_rows(rows, predictions, main, encoder)],
        predictions,
        [each[name] for each in published for name in shown if name in each],
        main,
    )
    draws = _draws(y, options, seed)
    return replace(
        judged,
        tests=tests,
        verdict=verdict_sentence(tests, y, judged.expected_half_width),
        metrics=(*judged.metrics, *guesses),
        comparison=_adjusted_for_all(
            *comparison_rows(lines, guesses, y, draws),
            *_across(across, examples, options, seed, main, encoder, asked=bool(rows)),
        ),
        arms=arms,
        arm_differences=differences,
        selection=selection,
        optimism=_optimism(trainings or predictions, published, selection, examples),
        duplicates=tuple(duplicates),
    )


def _tests(
    predictions: Sequence[FoldPredictions],
    examples: Examples,
    planned: Sequence[Fold],
    observed: Mapping[str, float],
    permuted: Mapping[str, Floats] | None,
    exchanged: Mapping[str, Floats] | None,
    untested: Mapping[str, str] | None,
) -> tuple[PermutationTest, ...]:
    """Test every model that was fitted on every fold."""
    by_model: dict[str, list[FoldPredictions]] = {name: [] for name in observed}
    for each in predictions:
        by_model[each.model].append(each)
    broken = {
        name: f"it could be fitted on {len(own)} of {len(planned)} folds only"
        for name, own in by_model.items()
        if len(own) < len(planned)
    }
    scores = {
        name: np.vstack([brain_scores(by_model[name], len(examples.y)), brains])
        for name, brains in (exchanged or {}).items()
        if name in by_model and name not in broken
    }
    tests = judge_permutations(
        observed,
        permuted or {},
        added_values(scores, examples, planned),
        {**(untested or {}), **broken},
    )
    return tuple(
        with_people(each, [own.fold for own in by_model[each.model]], len(planned))
        for each in tests
    )


def _adjusted_for_all(*rows: ComparisonRow) -> tuple[ComparisonRow, ...]:
    """Adjust the p of every difference for all of them; a line in two tables is one test."""
    tests = {_test_of(row): row.difference_p for row in rows if not np.isnan(row.difference_p)}
    adjusted = dict(zip(tests, holm(np.array(list(tests.values()))).tolist(), strict=True))
    return tuple(
        row
        if np.isnan(row.difference_p)
        else replace(row, difference_p_holm=adjusted[_test_of(row)])
        for row in rows
    )


def _test_of(row: ComparisonRow) -> tuple[str | None, ...]:
    return row.model, row.selection, row.train_on, row.test_on, row.metric


def model_titles(encoder: str, also: Sequence[str] = ()) -> dict[str, str]:
    """Return the title of every model, of those in `also`, and of the random baseline."""
    titles = {name: title_of(name, encoder) for name in (*MODELS, *also)}
    return titles | {RANDOM: "Random (1,000 draws)"}


def _draws(y: Ints, options: EvaluationOptions, seed: int, arm: Ints | None = None) -> Draws:
    rng = np.random.default_rng(derive_seed(seed, BOOTSTRAP))
    return draw_people(y, options.bootstrap, rng, arm)


def _folds(predictions: Sequence[FoldPredictions]) -> list[Fold]:
    return list({(each.fold.repeat, each.fold.fold): each.fold for each in predictions}.values())


def _other_rows(
    rows: Sequence[PaperRow], predictions: Sequence[FoldPredictions], main: str, encoder: str
) -> list[PaperRow]:
    """Give a line to every model that has none, the main one first."""
    listed = {each.model for each in rows}
    models = dict.fromkeys([main, *(each.model for each in predictions)])
    return [
        PaperRow(None, None, name, title_of(name, encoder)) for name in models if name not in listed
    ]


def _shown(selection: str) -> tuple[str, ...]:
    return {
        "nested": (),
        LAST_EPOCH: (LAST_EPOCH,),
        BEST_ON_TEST: (LAST_EPOCH, BEST_ON_TEST),
    }[selection]


def _arms(
    predictions: Sequence[FoldPredictions],
    examples: Examples,
    options: EvaluationOptions,
    seed: int,
) -> tuple[tuple[ArmRow, ...], tuple[ArmDifference, ...]]:
    if examples.arms is None:
        return (), ()
    return judge_arms(predictions, examples.y, examples.arms, options.bootstrap, seed)


def _optimism(
    predictions: Sequence[FoldPredictions],
    published: Sequence[Mapping[str, FoldPredictions]],
    selection: str,
    examples: Examples,
) -> tuple[OptimismRow, ...]:
    """Return both protocols by model; with ``last-epoch`` without the best on test."""
    rows = optimism_rows(predictions, published, examples.y)
    if selection == BEST_ON_TEST:
        return rows
    return tuple(replace(row, best_on_test=float("nan"), gap=float("nan")) for row in rows)


def _across(
    across: DomainFits | None,
    examples: Examples,
    options: EvaluationOptions,
    seed: int,
    main: str,
    encoder: str,
    *,
    asked: bool,
) -> list[ComparisonRow]:
    y = examples.y
    if across is None or examples.arms is None:
        without = [PaperRow(TABLE_4, 1, main, title_of(main, encoder), _NO_ARMS, possible=False)]
        lines = plain_lines(without, (), (), main) if asked else []
        return comparison_rows(lines, (), y, _draws(y, options, seed))
    titles = {name: title_of(name, encoder) for name in across.models}
    lines = domain_lines(across.domains, across.predictions, titles, main)
    # People are drawn within their arm, so that none of a draw is empty.
    arm = np.unique(np.asarray(examples.arms), return_inverse=True)[1]
    return comparison_rows(lines, (), y, _draws(y, options, seed, arm))
