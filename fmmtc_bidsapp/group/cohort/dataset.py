"""The encoded cohort and its folds, for train and compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fmmtc_bidsapp.bidsio.cohort.cohort import Cohort
from fmmtc_bidsapp.bidsio.cohort.covariates import covariate_columns
from fmmtc_bidsapp.engine import Outcome, error_code
from fmmtc_bidsapp.group.cohort.admission import announce, prepare, read_people, with_weights_folder
from fmmtc_bidsapp.group.encode.encoder_config import (
    EncoderChoice,
    coordinates,
    encoder_options,
    learns_scale,
    needs_of_cohort,
    refuse_contradictions,
    refuse_maps,
    refuse_other_parcels,
    refuse_surrogates,
    require_repetition_times,
)
from fmmtc_bidsapp.group.encode.other_modalities import packages_of, with_other_modalities
from fmmtc_bidsapp.group.tasks.compute import check_device, check_encoder
from fmmtc_bidsapp.group.tasks.encoding import Encoded, encode, stratum
from fmmtc_bidsapp.group.tasks.fit import Fits
from fmmtc_bidsapp.group.tasks.scaling import encode_folds
from fmmtc_bidsapp.learning.estimators.models import (
    MODELS,
    baselines,
    check_needs,
    refuse_adjusting,
    refuse_needs,
)
from fmmtc_bidsapp.learning.evaluation.duplicate_scans import describe_duplicates, refuse_duplicates
from fmmtc_bidsapp.learning.evaluation.leakage import acquisition_leaks
from fmmtc_bidsapp.learning.model_selection.splits import SplitPlan, check_strata, outer_folds
from fmmtc_bidsapp.plan import GroupPlan
from fmmtc_bidsapp.records import Examples, Fold, Person

__all__ = [
    "Admitted",
    "Study",
    "admit",
    "begin",
    "outcome_keys",
    "outcomes",
    "warn_of_acquisition",
    "warn_of_selection",
    "with_baselines",
    "with_scales",
]


@dataclass(frozen=True, eq=False)
class Admitted:
    """The cohort before anything is written or encoded."""

    plan: GroupPlan
    """With the folder of the encoder's weights filled in."""
    device: str
    cohort: Cohort
    encoder: EncoderChoice
    notice: str
    """Note on the encoder for the reader; empty for none."""
    digests: Mapping[str, str]
    """Further values that enter the configuration hash."""


@dataclass(frozen=True, eq=False)
class Study:
    """The encoded cohort and its folds."""

    plan: GroupPlan
    """With the folder of the encoder's weights filled in."""
    device: str
    cohort: Cohort
    """Before encoding."""
    encoder: EncoderChoice
    encoded: Encoded
    folds: tuple[Fold, ...]
    """Outer folds of all repeats; all models share them."""
    crash_dir: Path
    notice: str
    """Note on the encoder for the reader; empty for none."""
    warnings: tuple[str, ...] = ()
    """Properties of the scans that differ by outcome."""


def admit(plan: GroupPlan, asked: Sequence[str]) -> Admitted:
    """Read the cohort and refuse what cannot be analysed; write nothing.

    `asked` are keys of `MODELS`, empty for every possible model.
    """
    refuse_contradictions(asked, plan.model, plan.cohort.covariates)
    if plan.cohort.adjust:
        refuse_adjusting(asked or tuple(MODELS))
    device = check_device(plan.train.device)
    plan = replace(plan, model=with_weights_folder(encoder_options(asked, plan.model)))
    cohort = read_people(plan, plan.cohort, smallest_class=plan.train.folds)
    cohort = with_other_modalities(cohort, asked, plan.bids_dir, plan.derivatives)
    refuse_surrogates(asked, plan.explain, has_series=cohort.has_series)
    refuse_maps(asked, plan.model, plan.explain)
    refuse_other_parcels(cohort, plan.model)
    _require_enough_people(plan, cohort.people)
    require_repetition_times(cohort.people, plan.model)
    digest = check_encoder(plan.model, plan.random_seed)
    xyz_mm, notice = coordinates(cohort, plan.model)
    encoder = EncoderChoice(
        plan.model,
        plan.random_seed,
        digest,
        xyz_mm,
        device,
        plan.train.precision,
        also_random=any("random encoder" in MODELS[name].needs for name in asked or MODELS),
        learns_scale=learns_scale(asked, plan.model, has_series=cohort.has_series),
    )
    refuse_needs(asked, needs_of_cohort(cohort, encoder))
    digests = {"encoder": digest, **_asked_for(plan, asked, device)}
    return Admitted(plan, device, cohort, encoder, notice, digests)


def begin(plan: GroupPlan, asked: Sequence[str]) -> Study:
    """Read the cohort, refuse what cannot be analysed, encode everyone, and split them.

    A scale of the training people is not known before the split: `with_scales` encodes then.
    """
    admitted = admit(plan, asked)
    plan, cohort, encoder = admitted.plan, admitted.cohort, admitted.encoder
    crash_dir = prepare(plan, cohort, admitted.digests)
    announce(plan, cohort, admitted.notice)
    warn_of_selection(plan, asked)
    encoded = encode(plan, cohort, encoder.without_scale, crash_dir)
    _warn_of_duplicates(encoded)
    warnings = warn_of_acquisition(encoded.examples)
    if len(encoded.people) < len(cohort.people):
        _require_enough_people(plan, encoded.people)
    examples, train = encoded.examples, plan.train
    folds = outer_folds(
        examples.strata, train.folds, train.repeats, plan.random_seed, examples.groups
    )
    return Study(
        plan,
        admitted.device,
        cohort,
        encoder,
        encoded,
        tuple(folds),
        crash_dir,
        admitted.notice,
        warnings,
    )


def with_scales(study: Study, splits: Sequence[Fold | None]) -> Study:
    """Encode everyone with the scale of each split, if it is learnt from the training people.

    `splits` are all that will be fitted, as in `encode_folds`.
    """
    if not study.encoder.learns_scale:
        return study
    encoded = encode_folds(study.plan, study.encoded, study.encoder, splits, study.crash_dir)
    return replace(study, encoded=encoded)


def _asked_for(plan: GroupPlan, asked: Sequence[str], device: str) -> dict[str, str]:
    """Return the models, shuffles and packages that enter the configuration hash."""
    shuffles = [
        plan.protocol.n_permutations(is_network=is_network, device=device)
        for is_network in (True, False)
    ]
    # Without names compare fits the lines of the paper that --features leaves.
    models = asked or ("paper", *plan.protocol.features)
    packages = " ".join(sorted(each.requirement for each in packages_of(asked)))
    return {
        "models": " ".join(models),
        "shuffles": " ".join(map(str, shuffles)),
        **({"packages": packages} if packages else {}),
    }


def warn_of_selection(plan: GroupPlan, asked: Sequence[str]) -> None:
    """Warn that --selection changes nothing without a network."""
    if plan.protocol.selection == "nested" or any(MODELS[n].is_network for n in asked or MODELS):
        return
    print(
        f"WARNING: --selection {plan.protocol.selection} changes nothing here: it is about the "
        "epochs of networks, and none is asked for."
    )


def _warn_of_duplicates(encoded: Encoded) -> None:
    """Warn of duplicate scans, and refuse a cohort of nothing else."""
    so = "They are kept together in every fold and shuffle. Leave one out if it is one person."
    kinds = {
        True: "have the same scan for all one can tell",
        False: "are far more alike than all other pairs, as two scans of one person are",
    }
    for same_scan, what in kinds.items():
        own = [each for each in encoded.duplicates if each.same_scan == same_scan]
        line = describe_duplicates(own, what, so)
        if line:
            print(f"WARNING: {line}")
    refuse_duplicates(encoded.examples.keys, encoded.duplicates)


def warn_of_acquisition(examples: Examples) -> tuple[str, ...]:
    """Warn of scans that differ by outcome, and return the warnings."""
    leaks = tuple(f"{each.name} {each.reason}" for each in acquisition_leaks(examples))
    for each in leaks:
        print(
            f"WARNING: what the scans were like goes with the outcome: {each}. A model may read "
            "that and nothing of the brain; see the step 'beyond motion and acquisition'."
        )
    return leaks


def _require_enough_people(plan: GroupPlan, people: Sequence[Person]) -> None:
    """Refuse too few people for the folds or the calibration, before they are encoded."""
    strata = [stratum(each) for each in people]
    groups = None if plan.cohort.group_by is None else [str(each.group) for each in people]
    check_strata(strata, plan.train.folds, plan.train.inner_folds, groups)
    adjusted = None
    if plan.cohort.adjust:
        columns = covariate_columns([each.covariates for each in people], plan.cohort.covariates)
        adjusted = columns.values
    calibration = plan.evaluation.calibration
    SplitPlan(strata, groups, plan.train, plan.random_seed, calibration).check(adjusted)


def with_baselines(asked: Sequence[str], examples: Examples) -> tuple[str, ...]:
    """Add the possible baselines to the models; InputError if one lacks an input."""
    check_needs(asked, examples)
    return tuple(dict.fromkeys([*asked, *baselines(examples)]))


def outcome_keys(cohort: Cohort) -> dict[str, str | None]:
    """Return the coding of the outcome for sidecars."""
    coding = cohort.divisions.coding
    return {} if coding is None else coding.sidecar_keys()


def outcomes(study: Study, fits: Sequence[Fits]) -> list[Outcome]:
    """Return the outcome of all people and of every failed step."""
    broken = [
        Outcome(each.node, "failed", each.message, error_code(each.error))
        for fit in fits
        for each in fit.failures
    ]
    people = Outcome(f"{len(study.encoded.people)} people", "done")
    return [people, *study.encoded.outcomes, *broken]
