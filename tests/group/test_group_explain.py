"""Explanations: computed, kept, not shown without evidence, written, and reused by a later run."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from fmmtc_bidsapp.bidsio.cohort.cohort import Cohort
from fmmtc_bidsapp.bidsio.files.atomic import write_text
from fmmtc_bidsapp.bidsio.files.names import GroupFiles, atlas_files
from fmmtc_bidsapp.engine import load_record, save_arrays, save_record
from fmmtc_bidsapp.group import train
from fmmtc_bidsapp.group.cohort.dataset import Study
from fmmtc_bidsapp.group.encode.encoder_config import EncoderChoice
from fmmtc_bidsapp.group.encode.serialization import save_examples
from fmmtc_bidsapp.group.output import results
from fmmtc_bidsapp.group.output.explain import (
    Explained,
    _nulls,
    _summed_up,
    _why_nothing,
    explain,
    models_to_keep,
)
from fmmtc_bidsapp.group.tasks.encoding import Encoded
from fmmtc_bidsapp.group.tasks.fit import Fits, fit_models
from fmmtc_bidsapp.group.tasks.fit_steps import (
    EXPLAIN,
    FIT,
    NULL_MAPS,
    ExplainStep,
    Kept,
    list_explain_steps,
    list_steps,
)
from fmmtc_bidsapp.group.tasks.memory import explain_gb, print_explain_steps, print_kept_weights
from fmmtc_bidsapp.group.tasks.workflow import _own_explaining
from fmmtc_bidsapp.learning.explanation.map_tables import Places
from fmmtc_bidsapp.learning.model_selection.splits import outer_folds
from fmmtc_bidsapp.options import (
    CohortOptions,
    EvaluationOptions,
    ExplainOptions,
    ModelOptions,
    ProtocolOptions,
    TrainOptions,
)
from fmmtc_bidsapp.plan import GroupPlan, Resources
from fmmtc_bidsapp.records import (
    Evaluation,
    Examples,
    Explanation,
    Fold,
    FoldExplanation,
    MapRow,
    ModalityShare,
    PermutationTest,
    Person,
    SeriesFile,
)

N, N_PARCELS, PLANTED = 24, 6, 3
PARCELS = tuple(f"P{i}" for i in range(1, N_PARCELS + 1))
SPACE, ATLAS = "MNI152NLin6Asym", "Tiny"
YES, NO, UNKNOWN = "evidence of prediction", "no evidence of prediction", "not tested"


def examples() -> Examples:
    """Couple the first parcels in one class."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.tile([0, 1], N // 2))
    signal = rng.normal(size=(N, 40, N_PARCELS))
    signal[:, :, :PLANTED] += 2 * y[:, None, None] * rng.normal(size=(N, 40, 1))
    return Examples(
        keys=tuple(f"sub-{i:02}" for i in range(N)),
        arrays={
            "cls": rng.normal(size=(N, 4)),
            "fc": np.array([np.corrcoef(each.T) for each in signal], dtype=np.float32),
            "series": np.ascontiguousarray(signal[:, :20].transpose(0, 2, 1), dtype=np.float32),
        },
        y=y,
        strata=tuple(map(str, y)),
    )


def plan_of(folder: Path, explain: ExplainOptions, **training: int) -> GroupPlan:
    folder.mkdir(exist_ok=True)
    plugin = folder / "plugin.yml"
    plugin.write_text("plugin: Linear")
    return GroupPlan(
        bids_dir=folder,
        output_dir=folder / "out",
        run_id="run",
        resources=Resources(work_dir=folder / "work", plugin_file=plugin),
        analysis="train",
        label="L",
        cohort=CohortOptions(target="y"),
        model=ModelOptions(encoder="none"),
        train=TrainOptions(
            **{"folds": 2, "inner_folds": 2, "epochs": 2, **training},
            precision="float32",
            device="cpu",
        ),
        evaluation=EvaluationOptions(bootstrap=20),
        protocol=ProtocolOptions(permutations="0"),
        explain=explain,
    )


@dataclass(frozen=True)
class Analysed:
    """A study, its fits, and what they go by."""

    study: Study
    fits: Fits

    def explained(
        self,
        verdict: str = YES,
        companion: str = YES,
        answer_first: Callable[[], None] = lambda: None,
    ) -> Explained:
        verdicts = {self.fits.models[0]: verdict, "fc-logistic": companion}
        tests = [
            PermutationTest(name, 0.9, 19, 0.05, 0.05, said) for name, said in verdicts.items()
        ]
        evaluation = Evaluation((), (), (), "", 0.1, tests=tuple(tests))
        return explain(self.study, self.fits, evaluation, answer_first)

    def nodes(self, graph: str) -> dict[str, int]:
        """Date of every node's result, by the node's name."""
        folder = self.study.plan.workspace / f"{graph}_L"
        return {
            path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/result_*.pklz")
        }


def analyse(
    folder: Path, models: Sequence[str], options: ExplainOptions, **training: int
) -> Analysed:
    people, plan = examples(), plan_of(folder, options, **training)
    file = folder / "examples.json"
    save_examples(file, people)
    entities = {"sub": "00", "space": SPACE, "atlas": ATLAS}
    series = SeriesFile(folder / "x.tsv", entities, 2.0, ATLAS, None, None)
    cohort = Cohort((Person("sub-00", None, 1, (series,)),), (), (), PARCELS, ATLAS, None, None, ())
    encoder = EncoderChoice(plan.model, 0, "none", None, "cpu", "float32")
    encoded = Encoded((), people, file, (), (), ())
    folds = tuple(outer_folds(people.strata, 2, plan.train.repeats, 0))
    study = Study(plan, "cpu", cohort, encoder, encoded, folds, folder / "log", "")
    fits = fit_models(
        plan,
        encoded,
        folds,
        models,
        device="cpu",
        crash_dir=study.crash_dir,
        title="fit",
        final=False,
        permute=False,
        keep=models_to_keep(plan, models),
    )
    return Analysed(study, fits)


def write_labels(folder: Path) -> Path:
    """Draw the parcels as six voxels in a row, the last with a table that calls it left."""
    image, table, _ = atlas_files(folder / "out", SPACE, ATLAS)
    image.parent.mkdir(parents=True)
    labels = np.zeros((8, 2, 2), dtype=np.int32)
    labels[1 : N_PARCELS + 1, 0, 0] = np.arange(1, N_PARCELS + 1) * 10
    nib.save(nib.Nifti1Image(labels, np.eye(4)), image)
    facts = {
        "index": np.arange(1, N_PARCELS + 1) * 10,
        "name": PARCELS,
        "network": ["A"] * PLANTED + ["B"] * (N_PARCELS - PLANTED),
        "x": [-1, 1, 0, -1, 1, 1],
        "y": 0,
        "z": 0,
    }
    pd.DataFrame(facts).to_csv(table, sep="\t", index=False)
    return image


def test_the_first_training_of_the_first_repeat_is_kept_and_nothing_else_is_asked_to(tmp_path):
    plan = plan_of(tmp_path, ExplainOptions(), repeats=2, seeds=2)
    models = ("fmmtc", "svm-fused", "fc-logistic", "dummy")
    kept = models_to_keep(plan, models)
    assert kept == ("fmmtc", "fc-logistic")
    folds = outer_folds(examples().strata, 2, 2, 0)
    steps = list_steps(plan, models, folds, device="cpu", final=True, permute=True, keep=kept)
    found = {(s.kind, s.family, s.fold.repeat, s.training): s.keep for s in steps if s.keep}
    assert found == {
        (FIT, "fmmtc", 0, 0): ("fmmtc",),
        (FIT, "fc-logistic", 0, 0): ("fc-logistic",),
    }
    assert models_to_keep(replace(plan, explain=ExplainOptions(explain="none")), models) == ()


def test_weights_of_which_nothing_would_be_said_are_not_kept(tmp_path):
    features = plan_of(tmp_path, ExplainOptions())
    parcels = replace(features, explain=ExplainOptions(explain="parcels"))
    for main in ("resnet-fc", "brainlm"):
        assert models_to_keep(features, (main, "fc-logistic")) == ("fc-logistic",)
        assert models_to_keep(parcels, (main,)) == (main,)
    for main in ("fmmtc", "svm-fused", "ridge-fc"):
        assert models_to_keep(features, (main,)) == (main,)
    assert models_to_keep(parcels, ("knn-fc",)) == ()


def test_null_maps_are_made_of_what_has_a_map_and_of_networks_one_by_one(tmp_path):
    fold = outer_folds(examples().strata, 2, 1, 0)[0]
    kept = [Kept(name, fold, tmp_path) for name in ("lstm", "fc-logistic", "knn-fc")]

    def listed(device: str = "cpu", **options: str) -> dict[str, list[int]]:
        plan = plan_of(tmp_path, ExplainOptions(**options))
        steps = list_explain_steps(plan, kept, device=device, null_maps=True)
        assert len({step.name for step in steps}) == len(steps)
        assert [s.kept.model for s in steps if s.kind == EXPLAIN] == [k.model for k in kept]
        nulls = [step for step in steps if step.kind == NULL_MAPS]
        return {k.model: [s.maps for s in nulls if s.kept is k] for k in kept}

    assert listed() == {"lstm": [], "fc-logistic": [99], "knn-fc": []}
    assert listed(explain="parcels", null_maps="3")["lstm"] == [1, 1, 1]
    assert len(listed("cuda", explain="parcels")["lstm"]) == 20
    assert listed(explain="parcels", null_maps="0") == {"lstm": [], "fc-logistic": [], "knn-fc": []}
    plan = plan_of(tmp_path, ExplainOptions(explain="parcels"))
    assert len(list_explain_steps(plan, kept, device="cpu", null_maps=False)) == 3


def test_what_is_explained_and_the_weights_that_are_kept_are_said_first(tmp_path, capsys):
    fold = outer_folds(examples().strata, 2, 1, 0)[0]
    plan = plan_of(tmp_path, ExplainOptions(explain="parcels", null_maps="2"))
    kept = [Kept("fmmtc", fold, tmp_path)]
    steps = list_explain_steps(plan, kept, device="cpu", null_maps=True)
    assert all(explain_gb(step, examples()) > 0.5 for step in steps)
    print_explain_steps(steps)
    assert "Explaining fmmtc in 3 steps, with 2 maps of shuffled" in capsys.readouterr().out
    folds = outer_folds(examples().strata, 12, 1, 0)
    many = list_steps(
        plan, ("fmmtc",), folds * 2, device="cpu", final=False, permute=False, keep=("fmmtc",)
    )
    print_kept_weights(many[:2])
    assert not capsys.readouterr().out
    print_kept_weights(many)
    assert "The weights of 24 fits are kept" in capsys.readouterr().out


def test_what_was_explained_is_read_back_as_it_was_written(tmp_path):
    fold = Fold(0, 1, np.array([0, 1]), np.array([2, 3]))
    found = FoldExplanation(
        "lstm", fold, "a method", delta=np.ones(2), agreement={"mean": 0.5}, agreement_n=2
    )
    read = load_record(save_record(tmp_path / "explanation.npz", found), FoldExplanation)
    assert (read.model, read.method, read.fold.fold) == ("lstm", "a method", 1)
    assert (read.agreement, read.agreement_n) == ({"mean": 0.5}, 2)
    np.testing.assert_array_equal(read.fold.test, fold.test)
    np.testing.assert_array_equal(read.delta, found.delta)
    assert read.edges is None


@pytest.mark.parametrize("verdict", [NO, UNKNOWN])
def test_without_evidence_nothing_is_computed_and_the_tables_say_why(tmp_path, verdict, capsys):
    analysed = analyse(tmp_path, ["ridge-fc", "fc-logistic"], ExplainOptions(explain="parcels"))
    found = analysed.explained(verdict)
    assert found.explanation.held_back == verdict
    assert not found.explanation.rows
    assert not analysed.nodes("explain")
    assert "--show-unsupported-maps" in capsys.readouterr().out
    files = GroupFiles(tmp_path / "out", "L")
    write_text(files.predictions, "of this run")
    results.write_explanation(files, found.explanation, found.about, found.image)
    for table in (files.modality, files.attributions):
        assert len(pd.read_csv(table, sep="\t")) == 0
        told = json.loads(table.with_suffix(".json").read_text())
        assert (told["HeldBack"], told["Supported"]) == (verdict, False)
    assert not files.attribution_map.exists()


def test_the_answer_is_given_before_anything_is_explained_and_only_where_something_is(tmp_path):
    analysed = analyse(tmp_path, ("ridge-fc",), ExplainOptions(explain="parcels", null_maps="0"))
    computed: list[int] = []

    def answer_first() -> None:
        computed.append(len(analysed.nodes("explain")))

    analysed.explained(NO, answer_first=answer_first)
    assert computed == []
    analysed.explained(YES, answer_first=answer_first)
    assert computed == [0]
    assert len(analysed.nodes("explain")) > 0


def test_a_flag_shows_maps_that_nothing_supports_and_says_so(tmp_path):
    options = ExplainOptions(null_maps="0", show_unsupported_maps=True)
    analysed = analyse(tmp_path, ["ridge-fc", "fc-logistic"], options)
    found = analysed.explained(NO, NO)
    assert found.explanation.unsupported
    assert not found.explanation.held_back
    assert {row.model for row in found.explanation.rows} == {"ridge-fc", "fc-logistic"}


def test_maps_point_at_the_planted_parcels_in_the_atlas_and_in_its_image(tmp_path):
    labels = write_labels(tmp_path)
    analysed = analyse(tmp_path, ["ridge-fc", "fc-logistic"], ExplainOptions(null_maps="12"))
    found = analysed.explained(companion=NO)
    assert not found.failures
    assert not found.explanation.unsupported
    assert found.about["Models"]["fc-logistic"] == {"HeldBack": NO}
    rows = found.explanation.rows
    assert {row.model for row in rows} == {"ridge-fc"}
    by_parcel = {row.index: row.attribution for row in rows if row.level == "parcel"}
    assert min(by_parcel[i] for i in (10, 20, 30)) > max(by_parcel[i] for i in (40, 50, 60))
    groups = {(row.level, row.name): row for row in rows if row.level in ("network", "hemisphere")}
    assert set(groups) == {
        *(("network", name) for name in "AB"),
        *(("hemisphere", name) for name in ("left", "right")),
    }
    assert groups["network", "A"].attribution > 1 > groups["network", "B"].attribution
    assert groups["network", "A"].z > 2
    image = nib.Nifti1Image.from_bytes(gzip.decompress(found.image))
    drawn = image.get_fdata()
    np.testing.assert_allclose(drawn[1:7, 0, 0], list(by_parcel.values()), rtol=1e-6)
    assert np.count_nonzero(drawn) == N_PARCELS
    assert found.about["Image"]["Source"] == "connectivity"
    assert found.about["Labels"] == f"bids::{labels.relative_to(tmp_path / 'out').as_posix()}"
    assert found.about["Table"].endswith("_dseg.tsv")
    assert found.about["Models"]["ridge-fc"]["Folds"] == "2 of 2"
    assert not image.header["descrip"].item()


def test_an_atlas_without_a_table_or_image_has_parcels_alone(tmp_path):
    analysed = analyse(tmp_path, ["ridge-fc"], ExplainOptions(null_maps="0"))
    found = analysed.explained()
    assert {row.level for row in found.explanation.rows} == {"parcel", "edge"}
    assert found.image is None
    assert (found.about["Table"], found.about["Labels"]) == (None, None)
    assert "no table" in found.about["NoImage"]


def test_parcels_that_the_table_does_not_number_are_not_painted_by_their_order(tmp_path):
    labels = write_labels(tmp_path)
    _, path, _ = atlas_files(tmp_path / "out", SPACE, ATLAS)
    table = pd.read_csv(path, sep="\t")
    table.assign(name=[f"other {i}" for i in range(N_PARCELS)]).to_csv(path, sep="\t", index=False)
    assert labels.is_file()
    found = analyse(tmp_path, ["ridge-fc"], ExplainOptions(null_maps="0")).explained()
    assert found.explanation.rows
    assert found.image is None
    assert "numbers in a label image" in found.about["NoImage"]


def test_a_damaged_image_costs_the_image_alone_and_is_told(tmp_path):
    labels = write_labels(tmp_path)
    labels.write_bytes(labels.read_bytes()[:60])
    found = analyse(tmp_path, ["ridge-fc"], ExplainOptions(null_maps="0")).explained()
    assert found.explanation.rows
    assert found.image is None
    assert "cannot be read" in found.about["NoImage"]
    assert [(each.name, each.code) for each in found.outcomes] == [("image of the map", 65)]


def test_a_damaged_table_costs_the_maps_and_is_told(tmp_path):
    write_labels(tmp_path)
    _, path, _ = atlas_files(tmp_path / "out", SPACE, ATLAS)
    path.write_text("index\tcolour\n1\tred\n")
    found = analyse(tmp_path, ["ridge-fc"], ExplainOptions(null_maps="0")).explained()
    assert "no column name" in found.explanation.held_back
    assert [each.code for each in found.outcomes] == [65]


def test_what_is_judged_is_written_before_anything_is_explained(tmp_path, monkeypatch):
    analysed = analyse(tmp_path, ["ridge-fc"], ExplainOptions(null_maps="0"))
    files = GroupFiles(tmp_path / "out", "L")
    write_text(files.predictions, "of an earlier run")
    results.write_explanation(files, Explanation(held_back="earlier"), {}, None)
    done: list[str] = []

    def written(*_: object) -> None:
        write_text(files.predictions, "of this run")
        done.append("tables")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "asked_to_train", lambda _: ("ridge-fc",))
    monkeypatch.setattr(train, "begin", lambda *_: analysed.study)
    monkeypatch.setattr(train, "with_scales", lambda study, _: study)
    monkeypatch.setattr(
        train, "fit_models", lambda *_, **__: replace(analysed.fits, final=(tmp_path,))
    )
    monkeypatch.setattr(train, "evaluate_run", lambda *_, **__: None)
    monkeypatch.setattr(train, "about_study", lambda *_: {})
    monkeypatch.setattr(train, "write_study", written)
    monkeypatch.setattr(train, "keep_bundle", lambda *_: done.append("bundle"))
    monkeypatch.setattr(train, "explain", killed)
    with pytest.raises(KeyboardInterrupt):
        train.train(analysed.study.plan, lambda: None)
    assert done == ["tables", "bundle"]
    assert not files.attributions.exists()


def test_nulls_are_those_of_the_explained_folds(tmp_path):
    folds = outer_folds(examples().strata, 2, 1, 0)
    steps, ended = [], {}
    for fold in folds:
        kept = Kept("ridge-fc", fold, tmp_path)
        null = ExplainStep(NULL_MAPS, kept, 0, 2)
        folder = tmp_path / null.name
        folder.mkdir()
        arrays = {"n": np.ones(2), "connectivity": np.full((2, N_PARCELS), float(fold.fold))}
        save_arrays(folder / "maps.npz", arrays, {})
        steps.append(null)
        ended[null] = folder
    both = _nulls(steps, ended, "ridge-fc", {0, 1})
    (one,) = _nulls(steps, ended, "ridge-fc", {1})
    assert len(both) == 2
    assert one.connectivity[0, 0] == 1
    assert _nulls(steps, {steps[1]: ended[steps[1]]}, "ridge-fc", {0, 1}) == []
    assert len(_nulls(steps, {steps[1]: ended[steps[1]]}, "ridge-fc", {1})) == 1


def test_maps_of_which_no_integral_was_complete_say_so(tmp_path):
    analysed = analyse(tmp_path, ["ridge-fc"], ExplainOptions(null_maps="0"))
    fold = analysed.study.folds[0]
    n = len(fold.test)
    lost = FoldExplanation(
        "lstm",
        fold,
        "integrated gradients",
        series_size=np.ones((n, N_PARCELS)),
        series=np.ones((n, N_PARCELS)),
        delta=np.ones(n),
        converged=np.zeros(n, dtype=bool),
        steps=np.full(n, 1024),
        gap=np.zeros(n),
    )
    places = Places(PARCELS, range(1, N_PARCELS + 1), {})
    rows, told = _summed_up(analysed.study, "lstm", [lost], [], places)
    assert rows == ()
    assert told["Folds"] == "1 of 2"
    assert _why_nothing("lstm", {"lstm": told}, ()) == "no integral was complete to 1 %"


def test_an_image_of_a_model_without_evidence_says_so_in_its_header(tmp_path):
    write_labels(tmp_path)
    options = ExplainOptions(null_maps="0", show_unsupported_maps=True)
    found = analyse(tmp_path, ["ridge-fc"], options).explained(NO)
    image = nib.Nifti1Image.from_bytes(gzip.decompress(found.image))
    assert b"NO EVIDENCE OF PREDICTION" in image.header["descrip"].item()


def test_parcels_after_features_refit_what_was_not_kept_and_more_null_maps_keep_those_there_are(
    tmp_path,
):
    models = ["lstm", "fc-logistic"]
    features = analyse(tmp_path, models, ExplainOptions())
    found = features.explained()
    assert {row.model for row in found.explanation.rows} == {"fc-logistic"}
    assert "--explain parcels" in found.about["Models"]["lstm"]["NoMaps"]
    assert {each.model for each in features.fits.kept} == {"fc-logistic"}
    fitted, haufe = features.nodes("fit"), features.nodes("explain")
    assert fitted
    parcels = analyse(tmp_path, models, ExplainOptions(explain="parcels", null_maps="1"))
    found = parcels.explained()
    assert not found.failures
    again = parcels.nodes("fit")
    assert {name for name in fitted if fitted[name] == again[name]} == {
        name for name in fitted if "lstm" not in name
    }
    assert {name: parcels.nodes("explain")[name] for name in haufe if "null" not in name} == {
        name: date for name, date in haufe.items() if "null" not in name
    }
    assert {(r.model, r.source) for r in found.explanation.rows} == {
        ("lstm", "series"),
        ("fc-logistic", "connectivity"),
    }
    before = parcels.nodes("explain")
    more = analyse(tmp_path, models, ExplainOptions(explain="parcels", null_maps="2"))
    more.explained()
    after = more.nodes("explain")
    own = {name: date for name, date in before.items() if "lstm" in name}
    assert {name: after[name] for name in own} == own
    assert {name for name in after if name not in before} == {
        f"null_maps_lstm_repeat_0_fold_{fold}_from_1" for fold in (0, 1)
    }


def test_only_the_folds_that_were_not_kept_are_fitted_anew(tmp_path):
    models = ["ridge-fc", "knn-fc"]
    before = analyse(tmp_path, models, ExplainOptions(explain="none"))
    assert before.explained().explanation is None
    assert not before.fits.kept
    dates = before.nodes("fit")
    after = analyse(tmp_path, models, ExplainOptions())
    assert [(each.model, each.fold.fold) for each in after.fits.kept] == [
        ("ridge-fc", 0),
        ("ridge-fc", 1),
    ]
    again = after.nodes("fit")
    assert {name for name in dates if dates[name] == again[name]} == {
        name for name in dates if "knn" in name
    }
    for one, other in zip(before.fits.predictions, after.fits.predictions, strict=True):
        np.testing.assert_array_equal(one.logit, other.logit)


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    written = []
    for name in ("one", "other"):
        options = ExplainOptions(explain="parcels", null_maps="2")
        found = analyse(tmp_path / name, ["lstm", "fc-logistic"], options).explained()
        files = GroupFiles(tmp_path / name / "out", "L")
        write_text(files.predictions, "of this run")
        results.write_explanation(files, found.explanation, found.about, found.image)
        paths = [files.modality, files.attributions, files.attributions.with_suffix(".json")]
        written.append([path.read_bytes() for path in paths])
    assert written[0] == written[1]


def test_a_fold_that_cannot_be_explained_takes_nothing_else_with_it(tmp_path):
    analysed = analyse(tmp_path, ["ridge-fc"], ExplainOptions(null_maps="0"))
    (analysed.fits.kept[0].folder / "model.safetensors").write_bytes(b"broken")
    found = analysed.explained()
    assert len(found.failures) == 1
    assert found.outcomes[0].status == "failed"
    assert found.about["Models"]["ridge-fc"]["Folds"] == "1 of 2"
    (analysed.fits.kept[1].folder / "model.safetensors").write_bytes(b"broken")
    found = analysed.explained()
    assert found.explanation.held_back.startswith("it could not be computed")


def test_every_column_is_described_and_nothing_of_an_earlier_run_survives(tmp_path):
    files = GroupFiles(tmp_path, "L")
    write_text(files.predictions, "of this run")
    nan = float("nan")
    shares = (ModalityShare("m", "series", 0.4, 0.3, 0.5, 0.1, N),)
    rows = (MapRow("m", "series", "parcel", "P1", 1, None, 0.2, 0.1, 0.1, 0.3, 0.9, nan),)
    results.write_explanation(files, Explanation(shares, rows), {"Models": {}}, b"image")
    for path in (files.modality, files.attributions):
        told = json.loads(path.with_suffix(".json").read_text())
        assert told["Supported"]
        columns = pd.read_csv(path, sep="\t").columns
        assert [name for name in columns if not told.get(name, {}).get("Description")] == []
    assert files.attribution_map.read_bytes() == b"image"
    results.write_explanation(files, Explanation(shares, rows, unsupported=True), {}, None)
    assert not json.loads(files.modality.with_suffix(".json").read_text())["Supported"]
    assert not files.attribution_map.exists()
    results.withdraw_stale_explanation(files)
    assert files.modality.exists()
    write_text(files.predictions, "of another")
    results.withdraw_stale_explanation(files)
    assert not files.modality.exists()
    results.write_explanation(files, Explanation(shares, rows), {}, b"image")
    results.write_explanation(files, None, {}, None)
    assert list(files.modality.parent.iterdir()) == [files.predictions]


def test_a_step_is_known_by_the_options_that_change_it_alone(tmp_path):
    whole = ExplainOptions("parcels", explain_baseline="mean", null_maps="3")
    fold = outer_folds(examples().strata, 2, 1, 0)[0]
    network, linear = Kept("brainlm", fold, tmp_path), Kept("ridge-fc", fold, tmp_path)
    plain = ExplainOptions("parcels")
    assert _own_explaining(whole, ExplainStep(EXPLAIN, linear)) == ExplainOptions()
    mapped = replace(plain, explain_baseline="mean")
    assert _own_explaining(whole, ExplainStep(EXPLAIN, network)) == mapped
    shares = replace(whole, explain="features")
    assert _own_explaining(shares, ExplainStep(EXPLAIN, network)) == ExplainOptions()
