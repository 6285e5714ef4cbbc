"""What is fitted, cut into steps; what comes back of them; and what they are expected to cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.group.encode.serialization import save_examples
from fmmtc_bidsapp.group.tasks.encoding import Encoded
from fmmtc_bidsapp.group.tasks.fit import fit_models
from fmmtc_bidsapp.group.tasks.fit_steps import FINAL, FIT, PUBLISHED, SHUFFLES, list_steps
from fmmtc_bidsapp.group.tasks.memory import kinds_of, list_kinds, print_models_to_fit, step_gb
from fmmtc_bidsapp.learning.model_selection.splits import outer_folds
from fmmtc_bidsapp.learning.paper.best_on_test import BEST_ON_TEST, LAST_EPOCH
from fmmtc_bidsapp.options import (
    CohortOptions,
    EvaluationOptions,
    ModelOptions,
    ProtocolOptions,
    TrainOptions,
)
from fmmtc_bidsapp.plan import GroupPlan, Resources
from fmmtc_bidsapp.records import Examples


def examples(n: int = 24, parcels: int = 6) -> Examples:
    rng = np.random.default_rng(0)
    y = rng.permutation(np.tile([0, 1], n // 2))
    signal = rng.normal(size=(n, 40, parcels))
    signal[:, :, :3] += y[:, None, None] * rng.normal(size=(n, 40, 1))
    return Examples(
        keys=tuple(f"sub-{i:02}" for i in range(n)),
        arrays={
            "cls": rng.normal(size=(n, 4)),
            "fc": np.array([np.corrcoef(each.T) for each in signal], dtype=np.float32),
            "series": rng.normal(size=(n, parcels, 20)).astype(np.float32),
        },
        y=y,
        strata=tuple(map(str, y)),
        mean_fd_mm=rng.uniform(0.1, 0.3, n),
    )


def encoded(folder: Path, people: Examples) -> Encoded:
    file = folder / "examples.json"
    save_examples(file, people)
    return Encoded((), people, file, (), (), ())


@pytest.fixture
def plan(tmp_path: Path) -> GroupPlan:
    return GroupPlan(
        bids_dir=tmp_path,
        output_dir=tmp_path / "out",
        run_id="run",
        resources=Resources(work_dir=tmp_path / "work", n_procs=2),
        analysis="train",
        label="test",
        cohort=CohortOptions(target="y"),
        model=ModelOptions(encoder="random"),
        train=TrainOptions(folds=2, inner_folds=2, epochs=2, precision="float32", device="cpu"),
        evaluation=EvaluationOptions(bootstrap=20),
        protocol=ProtocolOptions(permutations="20"),
    )


def steps(plan: GroupPlan, models: tuple[str, ...], **changes: bool) -> dict[str, list]:
    people = examples()
    folds = outer_folds(people.strata, 2, plan.train.repeats, 0)
    found = list_steps(
        plan, models, folds, device="cpu", **{"final": True, "permute": True, **changes}
    )
    names = [each.name for each in found]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() for name in names)
    kinds = (FIT, SHUFFLES, PUBLISHED, FINAL)
    return {kind: [each for each in found if each.kind == kind] for kind in kinds}


def test_what_one_training_serves_is_one_step_and_every_seed_repeat_and_fold_has_its_own(plan):
    plan = replace(plan, train=replace(plan.train, seeds=3, repeats=2))
    found = steps(plan, ("fmmtc", "svm-fused", "lstm", "svm-fc"))
    by_models = {each.models for each in found[FIT]}
    assert by_models == {("fmmtc", "svm-fused"), ("lstm",), ("svm-fc",)}
    assert len(found[FIT]) == (2 * 3 + 1) * 2 * 2
    assert [each.training for each in found[FINAL]] == [0, 1, 2]
    assert {each.models for each in found[FINAL]} == {("fmmtc",)}
    assert not found[PUBLISHED]


def test_networks_are_shuffled_a_few_at_a_time_and_all_others_at_once(plan):
    found = steps(replace(plan, protocol=ProtocolOptions(permutations="22")), ("lstm", "svm-fc"))
    lots = [(each.models[0], each.first, each.shuffles) for each in found[SHUFFLES]]
    one_fold = [("lstm", first, 5) for first in (0, 5, 10, 15)] + [("lstm", 20, 2)]
    assert lots == one_fold * 2 + [("svm-fc", 0, 22)] * 2


def test_the_published_protocol_is_for_networks_and_only_where_it_is_asked_for(plan):
    plan = replace(plan, protocol=ProtocolOptions(selection="best-on-test", permutations="0"))
    found = steps(plan, ("lstm", "svm-fc"), final=False)
    assert [each.models for each in found[PUBLISHED]] == [("lstm",)] * 2
    assert not found[FINAL]
    assert not found[SHUFFLES]


def test_a_classifier_needs_more_memory_for_more_parcels_and_a_network_the_same(plan):
    for model, grows in (("svm-fc", True), ("fmmtc", False)):
        fit = steps(plan, (model,))[FIT][0]
        small, large = step_gb(fit, examples()), step_gb(fit, examples(parcels=2000))
        assert (large > small) == grows


def test_what_is_fitted_is_said_and_steps_are_listed_by_kind_with_their_memory(plan, capsys):
    found = steps(plan, ("fmmtc", "dummy"))
    listed = [each for kind in found.values() for each in kind]
    print_models_to_fit(listed)
    assert "2 models in 15 steps: fmmtc, dummy" in capsys.readouterr().out
    lines = list_kinds({each: step_gb(each, examples()) for each in listed})
    assert sum(int(line.split(" x ")[0]) for line in lines) == 15
    assert f"  {len(found[FINAL])} x final: fmmtc (2.5 GB each)" in lines
    assert set(kinds_of(listed).values()) == {
        f"{kind}: {model}" for kind in ("fit", "shuffles") for model in ("fmmtc", "dummy")
    } | {"final: fmmtc"}


def test_what_was_fitted_comes_back_and_a_broken_step_takes_its_model_alone(
    plan, tmp_path, monkeypatch
):
    plan = replace(
        plan,
        train=replace(plan.train, seeds=2),
        protocol=ProtocolOptions(permutations="20", selection="best-on-test"),
    )
    people = examples()
    folds = outer_folds(people.strata, 2, 1, 0)
    # Before the workers are forked, so that they break as well: on every shuffle of one model.
    from fmmtc_bidsapp.group.tasks import fit_tasks

    whole = fit_tasks.permuted_outputs

    def breaks(analysis, names, *given):
        if names == ("knn-fc",):
            raise InputError("this one breaks")
        return whole(analysis, names, *given)

    monkeypatch.setattr(fit_tasks, "permuted_outputs", breaks)
    fits = fit_models(
        plan,
        encoded(tmp_path, people),
        folds,
        ("lstm", "knn-fc", "ridge-fc"),
        device="cpu",
        crash_dir=tmp_path / "log",
        title="fit these",
        final=True,
        permute=True,
    )
    assert [(each.model, each.fold.fold) for each in fits.predictions] == [
        (name, fold) for name in fits.models for fold in (0, 1)
    ]
    assert len(fits.trainings) == 2 * (2 + 1 + 1)
    assert fits.predictions[0].refits.shape == (2, len(folds[0].test))
    assert [set(each) for each in fits.published] == [{BEST_ON_TEST, LAST_EPOCH}] * 2
    assert {name: each.shape for name, each in fits.permuted.items()} == {
        "lstm": (20,),
        "ridge-fc": (20,),
    }
    assert fits.untested == {"knn-fc": "2 of 2 steps with shuffled outcomes failed"}
    assert {each.message for each in fits.failures} == {"this one breaks"}
    assert len(fits.final) == 2
    assert all((folder / "model.safetensors").is_file() for folder in fits.final)


def test_too_few_ways_to_shuffle_are_an_error_where_shuffles_were_asked_for(plan, tmp_path, capsys):
    people = examples()
    folds = outer_folds(people.strata, 2, 1, 0)
    # Families of one person, each in a stratum of its own: nobody has anyone to exchange with.
    people = replace(
        people,
        groups=people.keys,
        strata=tuple(f"{y}|{key}" for y, key in zip(people.y, people.keys, strict=True)),
    )
    given = (encoded(tmp_path, people), folds, ("ridge-fc",))
    named = {
        "device": "cpu",
        "crash_dir": tmp_path / "log",
        "title": "fit",
        "final": False,
        "permute": True,
    }
    with pytest.raises(InputError, match="only 1 ways"):
        fit_models(plan, *given, **named)
    fits = fit_models(replace(plan, protocol=ProtocolOptions()), *given, **named)
    assert " ways, too few" in fits.untested["ridge-fc"]
    assert "no permutation test" in capsys.readouterr().out
