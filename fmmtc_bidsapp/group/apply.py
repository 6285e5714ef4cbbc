"""Apply: bundle -> cohort -> encode -> predict -> evaluate where outcomes are known -> files."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fmmtc_bidsapp.bidsio.cohort.cohort import Cohort
from fmmtc_bidsapp.bidsio.files.names import GroupFiles
from fmmtc_bidsapp.bidsio.files.origin import origin_keys
from fmmtc_bidsapp.bidsio.tables.person_ids import first_ids
from fmmtc_bidsapp.engine import Outcome, load_record, node_file, raise_failure, run_workflow
from fmmtc_bidsapp.errors import InputError, ModelFileError, UsageError
from fmmtc_bidsapp.group.bundle.bundle import Bundle
from fmmtc_bidsapp.group.bundle.compatibility import check_fits
from fmmtc_bidsapp.group.bundle.known_people import dataset_name
from fmmtc_bidsapp.group.bundle.read import load_connectivity_range, read_bundle
from fmmtc_bidsapp.group.cohort.admission import announce, prepare, read_people, with_weights_folder
from fmmtc_bidsapp.group.encode.encoder_config import (
    NO_ENCODER,
    EncoderChoice,
    require_repetition_times,
    same_input_note,
)
from fmmtc_bidsapp.group.encode.other_modalities import other_modality_keys, with_other_modalities
from fmmtc_bidsapp.group.output import results
from fmmtc_bidsapp.group.output.out_of_distribution import out_of_distribution, positions
from fmmtc_bidsapp.group.tasks.compute import check_device, check_encoder
from fmmtc_bidsapp.group.tasks.encoding import Encoded, encode, keep_scale
from fmmtc_bidsapp.group.tasks.workflow import predict_workflow
from fmmtc_bidsapp.learning.estimators.models import check_needs
from fmmtc_bidsapp.learning.evaluation.distance import ConnectivityRange
from fmmtc_bidsapp.learning.evaluation.external_validation import (
    External,
    Recalibration,
    evaluate_external,
    of_people,
)
from fmmtc_bidsapp.learning.metrics.predictions import prediction_rows
from fmmtc_bidsapp.models.encoders.registry import encoder_title
from fmmtc_bidsapp.options import CohortOptions, ModelOptions
from fmmtc_bidsapp.plan import GroupPlan
from fmmtc_bidsapp.records import Exclusion, FoldPredictions, Ints, Person

__all__ = ["Application", "admit_new", "apply"]


@dataclass(frozen=True, eq=False)
class Application:
    """A bundle and the participants it will predict, before anything is written or encoded."""

    device: str
    bundle: Bundle
    people: CohortOptions
    """The columns and rows that are read from the table."""
    cohort: Cohort
    """Without the training participants."""
    encoder: EncoderChoice
    notes: tuple[str, ...]
    """Notes on the bundle and these participants, for the reader."""


def admit_new(plan: GroupPlan) -> Application:
    """Read the bundle and the participants, and refuse what does not fit; write nothing."""
    device = check_device(plan.train.device)
    bundle = read_bundle(Path(str(plan.model_dir)))
    people = _cohort_options(plan, bundle)
    cohort = read_people(plan, people, smallest_class=0, trained=bundle.coding)
    cohort = with_other_modalities(cohort, [bundle.main], plan.bids_dir, plan.derivatives)
    check_fits(bundle, cohort, plan.model, plan.model_flags)
    cohort, namesakes = _without_training_people(plan, bundle, cohort)
    require_repetition_times(cohort.people, bundle.model)
    encoder = _encoder(plan, bundle, device)
    notes = filter(
        None,
        (
            *_older_format(bundle, people),
            *_other_versions(bundle),
            _new_coding(bundle, cohort),
            namesakes,
        ),
    )
    return Application(device, bundle, people, cohort, encoder, tuple(notes))


def apply(plan: GroupPlan) -> list[Outcome]:
    """Predict people with a bundle, and evaluate it on those whose outcome is known."""
    admitted = admit_new(plan)
    bundle, cohort = admitted.bundle, admitted.cohort
    crash_dir = prepare(plan, cohort, {"bundle": bundle.digest})
    announce(plan, cohort, " ".join(admitted.notes), bundle.covariates)

    encoder = _with_scale(plan, admitted.encoder, bundle)
    encoded = encode(plan, cohort, encoder, crash_dir, bundle.covariates)
    check_needs([bundle.main], encoded.examples)
    workflow = predict_workflow(
        plan, encoded.examples_file, bundle, device=admitted.device, crash_dir=crash_dir
    )
    failures = run_workflow(workflow, plan.resources, title="predict").failures
    if failures:
        raise_failure(failures[0], "The bundle could not be applied")
    predictions = load_record(node_file(workflow, "predict", "predictions.npz"), FoldPredictions)

    files = GroupFiles(plan.output_dir, plan.label)
    connectivity = load_connectivity_range(bundle)
    encoded, predictions = _without_training_scans(bundle, encoded, predictions, connectivity)
    repeats = _repeats(encoded)
    about = _about(plan, admitted, encoded, repeats)
    places = positions(encoded, bundle.training_range, connectivity, bundle.covariates)
    results.write_cohort(files, cohort, encoded.people, encoded.exclusions)
    results.write_predictions(
        files,
        encoded.people,
        prediction_rows([predictions], encoded.examples),
        out_of_distribution=out_of_distribution(places),
        about=about,
    )
    results.write_ranges(files, places)
    results.withdraw_explanation(files)
    is_judged = np.array([each.key not in repeats for each in encoded.people])
    _judge(files, plan, predictions, np.where(is_judged, encoded.examples.y, -1), about)
    return [Outcome(f"{len(encoded.people)} people", "done"), *encoded.outcomes]


def _cohort_options(plan: GroupPlan, bundle: Bundle) -> CohortOptions:
    """Return the options of the cohort, with outcome and covariates of the bundle as default."""
    asked, names = plan.cohort, tuple(each.name for each in bundle.covariates)
    if asked.covariates and set(asked.covariates) != set(names):
        raise UsageError(
            f"--covariates are {', '.join(asked.covariates)}, but the bundle {bundle.folder} reads "
            f"{', '.join(names) or 'none'}; leave the flag out."
        )
    if asked.adjust and not bundle.adjust:
        raise UsageError(
            f"--adjust was given, but the bundle {bundle.folder} was trained without it; leave the "
            "flag out."
        )
    known = bundle.negative_value is not None or asked.positive_value is not None
    return replace(
        asked,
        # Without the negative value of the training the outcome cannot be read.
        target=(asked.target or bundle.target) if known else None,
        covariates=names,
        adjust=bundle.adjust,
    )


_STAGE = "training"
"""Stage of excluded training participants."""


def _without_training_people(plan: GroupPlan, bundle: Bundle, cohort: Cohort) -> tuple[Cohort, str]:
    """Leave out training people, by label and file; return a note on equal labels."""
    if bundle.people is None:
        return cohort, ""
    known, namesakes = bundle.people.by_table(cohort.people, dataset_name(plan.bids_dir))
    _require_new_people(known, len(cohort.people))
    people = tuple(each for each in cohort.people if each.key not in known)
    return (
        replace(
            cohort,
            people=people,
            exclusions=(*cohort.exclusions, *_excluded(cohort.people, known)),
            eligibility=(*cohort.eligibility, cohort.count("not in training", people)),
        ),
        str(namesakes),
    )


def _without_training_scans(
    bundle: Bundle,
    encoded: Encoded,
    predictions: FoldPredictions,
    connectivity: ConnectivityRange | None,
) -> tuple[Encoded, FoldPredictions]:
    """Leave out people whose connectivity is that of a training person."""
    if bundle.people is None:
        return encoded, predictions
    known = bundle.people.by_scan(encoded.people, encoded.examples.fc, connectivity)
    _require_new_people(known, len(encoded.people))
    kept = np.array([i for i, each in enumerate(encoded.people) if each.key not in known])
    left = replace(
        encoded,
        people=tuple(encoded.people[i] for i in kept),
        examples=encoded.examples.take(kept),
        about=tuple(encoded.about[i] for i in kept),
        exclusions=(*encoded.exclusions, *_excluded(encoded.people, known)),
    )
    return left, of_people(predictions, kept)


def _repeats(encoded: Encoded) -> frozenset[str]:
    """Return people whose scan is that of an earlier one, and warn: they are not evaluated."""
    partners: dict[str, set[str]] = defaultdict(set)
    for pair in encoded.duplicates:
        partners[pair.first].add(pair.second)
        partners[pair.second].add(pair.first)
    counted: set[str] = set()
    for person in encoded.people:
        if not partners[person.key] & counted:
            counted.add(person.key)
    repeats = frozenset(each.key for each in encoded.people) - counted
    if repeats:
        print(f"WARNING: {_repeats_note(repeats)}", flush=True)
    return repeats


def _repeats_note(repeats: frozenset[str]) -> str:
    if not repeats:
        return ""
    return (
        f"{len(repeats)} of these people ({first_ids(repeats)}) have the scan of another "
        "one, or are one person scanned twice: predicted, but evaluated once."
    )


def _require_new_people(known: Mapping[str, str], n_people: int) -> None:
    """Print how many are training people, and refuse to go on without anybody new."""
    if not known:
        return
    counts = Counter(known.values())
    reasons = "; ".join(f"{n} because {reason}" for reason, n in counts.items())
    if len(known) == n_people:
        raise InputError(
            f"All of these {n_people} people are left out: {reasons}. A model cannot be tested on "
            "its training people; apply it to others."
        )
    print(f"WARNING: {len(known)} of {n_people} people are left out: {reasons}.", flush=True)


def _excluded(people: Sequence[Person], known: Mapping[str, str]) -> list[Exclusion]:
    return [
        Exclusion(each.participant_id, each.session_id, _STAGE, known[each.key])
        for each in people
        if each.key in known
    ]


def _older_format(bundle: Bundle, people: CohortOptions) -> list[str]:
    """Return notes on what a bundle of an older format does not contain."""
    if bundle.people is not None:
        return []
    unread = (
        " It does not contain the negative value of the outcome either, so outcomes are not "
        "read; --positive-value makes the evaluation possible."
    )
    judged = "" if people.target else unread
    return [
        "The bundle is of an older format without its training people: whether these people are "
        f"among them is not known.{judged}"
    ]


def _other_versions(bundle: Bundle) -> list[str]:
    """Return a note for each package whose version differs from the training."""
    return [
        f"The bundle was trained with {each.name!r} of {each.distribution} {each.version}, and "
        f"{each.installed} is installed: predictions may differ."
        for each in bundle.packages
        if each.installed != each.version
    ]


def _new_coding(bundle: Bundle, cohort: Cohort) -> str:
    """Return a note if the outcome is coded in another way than in training."""
    coding, trained = cohort.divisions.coding, bundle.coding
    if coding is None or trained.negative is None or coding.same_values(trained):
        return ""
    return f"By --positive-value {coding}; in the training {trained}."


def _encoder(plan: GroupPlan, bundle: Bundle, device: str) -> EncoderChoice:
    """Return the encoder of the bundle, after its weights have proven to be the same."""
    choice = EncoderChoice(
        replace(bundle.model, encoder=NO_ENCODER),
        bundle.seed,
        check_encoder(replace(bundle.model, encoder=NO_ENCODER), bundle.seed),
        bundle.coordinates_mm,
        device,
        bundle.precision,
    )
    if not bundle.encodes:
        return choice
    model = with_weights_folder(replace(bundle.model, encoder_weights=plan.model.encoder_weights))
    digest = _check_weights(model, bundle, bundle.encoder_digest)
    if bundle.random_digest is not None:
        _check_weights(replace(model, encoder="random"), bundle, bundle.random_digest)
    return replace(
        choice, options=model, digest=digest, also_random=bundle.random_digest is not None
    )


def _with_scale(plan: GroupPlan, encoder: EncoderChoice, bundle: Bundle) -> EncoderChoice:
    """Return the encoder with the scale of the training people, if the bundle has one.

    Without one, series are scaled by scan, or the model reads none.
    """
    if bundle.scale is None:
        return encoder.without_scale
    return replace(encoder, scale_file=keep_scale(plan, bundle.scale))


def _check_weights(model: ModelOptions, bundle: Bundle, expected: str) -> str:
    digest = check_encoder(model, bundle.seed)
    if digest != expected:
        raise ModelFileError(
            f"{encoder_title(model.encoder)} has other weights (digest {digest}) than those of the "
            f"bundle {bundle.folder} ({expected}). Give the folder of those weights with "
            "--encoder-weights; random weights need the same version of torch as in training."
        )
    return digest


def _judge(
    files: GroupFiles,
    plan: GroupPlan,
    predictions: FoldPredictions,
    y: Ints,
    about: Mapping[str, Any],
) -> None:
    """Evaluate the bundle on people whose outcome is known; write nothing without any."""
    rows = np.flatnonzero(y >= 0)
    if not len(rows):
        print(f"No outcome of these people is known ({about['Target']}); nothing is evaluated.")
        return
    external = evaluate_external(
        of_people(predictions, rows),
        y[rows],
        plan.evaluation,
        plan.random_seed,
        people_are_new=about["TrainingPeopleKnown"],
    )
    for each in external.recalibrations:
        if each.reason:
            print(f"Not done: {each.reason}.")
    sidecar = {**about, "N": len(rows), **_validation_keys(external, about)}
    results.write_evaluation(files, external.evaluation, sidecar)


def _validation_keys(external: External, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of the sidecar on validation and recalibration."""
    done = [each for each in external.recalibrations if not each.reason]
    return {
        "Validation": f"{_VALIDATION[about['TrainingPeopleKnown']]} Pooled figures, with bootstrap "
        "intervals of participants. Recalibrated models were fitted on nine tenths "
        "of these people and judged on the rest, ten times; their ranks are the model's own.",
        "Recalibration": {each.name: _line(each) for each in done},
        "RecalibrationRefused": [each.reason for each in external.recalibrations if each.reason],
    }


_VALIDATION = {
    True: "external: the model as it is, on people it was not trained on, by the digests of labels "
    "and data that its bundle holds.",
    False: "the model as it is, on people of whom it is not known whether they were in training: "
    "its bundle, of an older format, cannot tell. External only if they were not.",
}
"""By whether the bundle knows its training people."""


def _line(recalibration: Recalibration) -> dict[str, Any]:
    """Return the recalibration fitted on all of these people, which is not evaluated itself."""
    return {"Slope": recalibration.slope, "Intercept": recalibration.intercept}


def _about(
    plan: GroupPlan, admitted: Application, encoded: Encoded, repeats: frozenset[str]
) -> dict[str, Any]:
    bundle, cohort = admitted.bundle, admitted.cohort
    y = encoded.examples.y
    coding = cohort.divisions.coding or bundle.coding
    left_out = [*cohort.exclusions, *encoded.exclusions]
    return {
        **coding.sidecar_keys(),
        "TrainedWith": bundle.coding.sidecar_keys(),
        "TrainingPeopleKnown": bundle.people is not None,
        "RepeatedScans": sorted(repeats),
        "TrainingPeopleLeftOut": sum(each.stage == _STAGE for each in left_out),
        "N": len(encoded.people),
        "NWithOutcome": int((y >= 0).sum()),
        "NPositive": int((y == 1).sum()),
        "Bundle": bundle.folder.name,
        "BundleDigest": bundle.digest,
        "BundlePeople": bundle.n_people,
        "Evidence": None if bundle.evidence is None else asdict(bundle.evidence),
        "Trainings": bundle.trainings,
        **origin_keys(cohort.origin),
        "Atlas": cohort.atlas_label or "unnamed",
        "AtlasFallback": cohort.atlas_label != "A424",
        "Notice": "; ".join(
            filter(
                None,
                (
                    same_input_note(bundle.model),
                    *admitted.notes,
                    *encoded.notes,
                    _repeats_note(repeats),
                ),
            )
        ),
        "Normalisation": bundle.model.normalisation,
        "Encoder": bundle.model.encoder,
        "EncoderTitle": encoder_title(bundle.model.encoder),
        "EncoderDigest": bundle.encoder_digest,
        "Device": admitted.device,
        "Precision": encoded.about[0]["precision"],
        **other_modality_keys(cohort, encoded.examples),
        "MainModel": bundle.main,
        "ModelNames": _titles(bundle),
        "Options": asdict(plan.cohort) | asdict(bundle.model),
    }


def _titles(bundle: Bundle) -> dict[str, str]:
    return {
        bundle.main: bundle.title,
        f"{bundle.main} recalibrated intercept": f"{bundle.title}, intercept recalibrated",
        f"{bundle.main} recalibrated": f"{bundle.title}, recalibrated",
    }
