"""Both levels from the command line, on a small study whose truth is known.

Every command that computes is a process of its own, as a user runs it: nipype forks its workers,
and a forked copy of a test process that has used torch's threads can hang. One that is refused
before that runs in the test's process, which has imported everything.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from bids_schema import validate
from nilearn import signal
from small_study import write_block_atlas

from fmmtc_bidsapp.bidsio.atlases.atlas import resolve_atlas
from fmmtc_bidsapp.bidsio.files.names import GroupFiles, RunFiles
from fmmtc_bidsapp.bidsio.tables.read_series import read_relmat, read_series
from fmmtc_bidsapp.cli.main import main
from fmmtc_bidsapp.simulate.dataset import write_dataset
from fmmtc_bidsapp.simulate.options import SimulationOptions

OPTIONS = SimulationOptions(people=14, controls=2, volumes=60, strength=2.0, seed=3)
TRAIN = "--target Response --where type=patient --encoder random --token-orders 2 --folds 2 "
TRAIN += "--inner-folds 2 --epochs 3 --window 60 --bootstrap 200"


def run(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fmmtc_bidsapp", *map(str, words)]
    environ = {**os.environ, "FMMTC_CACHE_DIR": "/nonexistent", **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environ)


Refusal = Callable[..., tuple[int, str]]


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Return a function that runs a command, -> its exit code and what it says of it."""
    monkeypatch.setenv("FMMTC_CACHE_DIR", "/nonexistent")

    def refused(*words: str | Path) -> tuple[int, str]:
        code = main(list(map(str, words)))
        return code, capsys.readouterr().err

    return refused


@pytest.fixture(scope="session")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_block_atlas(tmp_path_factory.mktemp("atlas"))


@pytest.fixture(scope="session")
def bids(tmp_path_factory: pytest.TempPathFactory, atlas: Path) -> Path:
    out = tmp_path_factory.mktemp("study") / "bids"
    write_dataset(out, OPTIONS, resolve_atlas(str(atlas)), voxel_size_mm=6.0)
    return out


@pytest.fixture(scope="session")
def participant_run(
    tmp_path_factory: pytest.TempPathFactory, bids: Path, atlas: Path
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    out = tmp_path_factory.mktemp("results") / "out"
    done = run(bids, out, "participant", "--atlas", atlas, "-w", out.with_name("work"))
    return out, done


@pytest.fixture(scope="session")
def train_run(
    participant_run: tuple[Path, subprocess.CompletedProcess[str]], bids: Path
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    out, _ = participant_run
    return out, run(bids, out, "group", *TRAIN.split(), "-w", out.with_name("work"))


@pytest.fixture
def study(bids: Path, tmp_path: Path) -> Path:
    """Three people of the study, to be spoiled."""
    return copy_of(bids, tmp_path / "bids", range(1, 4))


def copy_of(bids: Path, copy: Path, numbers: range) -> Path:
    """Copy some people of a study."""
    keep = {f"sub-{number:02}" for number in numbers}
    names = {path.name for path in bids.rglob("sub-*") if path.is_dir()}
    shutil.copytree(bids, copy, ignore=shutil.ignore_patterns(*(names - keep)))
    return copy


def image_of(study: Path, participant: str, ending: str = "desc-preproc_bold.nii.gz") -> Path:
    (path,) = (study / "derivatives/fmriprep" / participant / "func").glob(f"*{ending}")
    return path


def test_the_participant_level_finishes_and_lists_everyone(
    participant_run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, done = participant_run
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": done") == OPTIONS.people
    assert len(list(out.glob("sub-*.html"))) == OPTIONS.people
    assert not list(out.rglob(".*partial*"))


def test_the_written_series_are_the_planted_ones(
    participant_run: tuple[Path, subprocess.CompletedProcess[str]], bids: Path
) -> None:
    out, _ = participant_run
    files = RunFiles(
        out, {"sub": "05", "task": "rest"}, "MNI152NLin6Asym", "Blocks", "simple", res=None
    )
    written = read_series(files.uncleaned).signal
    cleaned = read_series(files.timeseries).signal
    matrix = read_relmat(files.relmat).matrix
    data = np.asarray(nib.load(image_of(bids, "sub-05")).dataobj, dtype=np.float64)
    mask = np.asarray(nib.load(image_of(bids, "sub-05", "brain_mask.nii.gz")).dataobj) > 0
    used = nib.load(out / "tpl-MNI152NLin6Asym/tpl-MNI152NLin6Asym_atlas-Blocks_dseg.nii.gz")
    labels = np.asarray(used.dataobj)
    brute = np.stack([data[mask & (labels == i)].mean(0) for i in range(1, 25)], axis=1)
    np.testing.assert_allclose(written, brute, rtol=1e-9)
    confounds = pd.read_csv(files.design, sep="\t").to_numpy()
    expected = signal.clean(brute, confounds=confounds, detrend=True, standardize=None)
    np.testing.assert_allclose(cleaned, expected, atol=1e-8)
    np.testing.assert_allclose(matrix, np.corrcoef(expected.T), atol=1e-8)


def test_both_levels_leave_a_valid_bids_dataset(
    train_run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, _ = train_run
    assert validate(out, extended=True) == []
    assert validate(out, extended=False) == []


def test_training_predicts_every_patient_once_and_shows_the_baselines(
    train_run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, done = train_run
    assert done.returncode == 0, done.stdout + done.stderr
    files = GroupFiles(out, "fmmtc")
    predictions = pd.read_csv(files.predictions, sep="\t")
    assert predictions["participant_id"].is_unique
    assert len(predictions) == OPTIONS.people - OPTIONS.controls
    assert predictions["probability"].between(0, 1).all()
    metrics = pd.read_csv(files.metrics, sep="\t")
    assert set(metrics["model"]) == {"fmmtc", "fc-logistic", "motion", "dummy", "random"}
    judged = metrics[metrics["metric"] == "auroc"].set_index("model")
    assert judged["mean"]["dummy"] == 0.5
    assert judged["mean"]["fc-logistic"] > 0.7
    assert judged["n_permutations"]["fc-logistic"] == 999
    assert judged["verdict"]["fmmtc"] == "not tested"
    about = json.loads(files.metrics.with_suffix(".json").read_text())
    assert "Not tested: fmmtc" in about["Verdict"]
    assert set(about["NotTested"]) == {"fmmtc"}
    assert "not tested" in files.report.read_text()
    exclusions = pd.read_csv(files.exclusions, sep="\t")
    assert len(exclusions) == OPTIONS.controls


def test_a_bundle_holds_no_pickle(
    train_run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, _ = train_run
    names = {path.name for path in (out / "models/fmmtc").iterdir()}
    assert names == {
        "MODEL_CARD.md",
        "calibration.json",
        "config.json",
        "model.safetensors",
        "people.json",
        "preprocessing.json",
    }


def state(path: Path) -> tuple[int, bytes]:
    return path.stat().st_mtime_ns, path.read_bytes()


@pytest.mark.slow
def test_a_second_run_elsewhere_gives_the_same_bytes_and_rewrites_nothing(
    train_run: tuple[Path, subprocess.CompletedProcess[str]], bids: Path
) -> None:
    out, _ = train_run
    logs = {"log", "logs"}
    files = [p for p in sorted(out.rglob("*")) if p.is_file() and not logs & set(p.parts)]
    before = {path: state(path) for path in files}
    fresh = out.with_name("fresh")
    done = run(bids, out, "group", *TRAIN.split(), "-w", fresh, "--nprocs", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in files if state(path) != before[path]] == []


def test_another_configuration_under_the_same_label_is_refused(
    train_run: tuple[Path, subprocess.CompletedProcess[str]], bids: Path, refusal: Refusal
) -> None:
    out, _ = train_run
    before = GroupFiles(out, "fmmtc").predictions.read_bytes()
    code, said = refusal(
        bids, out, "group", *TRAIN.split(), "--batch-size", "4", "-w", out / "../w2"
    )
    assert (code, "another configuration" in said) == (2, True)
    assert GroupFiles(out, "fmmtc").predictions.read_bytes() == before


def newcomers(out: Path, new: Path, labels: dict[str, str]) -> Path:
    """Write the output for people of other labels and with other series."""
    others = [path.name for path in out.glob("sub-*") if path.name not in labels]
    kept_out = shutil.ignore_patterns("group", "models", "*.html", *others)
    shutil.copytree(out, new, ignore=kept_out)
    rng = np.random.default_rng(5)
    for old, label in labels.items():
        (new / old).rename(new / label)
        for path in sorted((new / label).rglob("*")):
            if path.is_file():
                path.rename(path.with_name(path.name.replace(old, label)))
        for path in (new / label).rglob("*_timeseries.tsv"):
            table = pd.read_csv(path, sep="\t")
            noise = 1000 + 10 * rng.normal(size=table.shape)
            pd.DataFrame(noise, columns=table.columns).to_csv(path, sep="\t", index=False)
    rows = "\n".join(labels.values())
    (new / "participants.tsv").write_text(f"participant_id\n{rows}\n")
    return new


def test_a_bundle_predicts_new_people_and_refuses_other_parcels(
    train_run: tuple[Path, subprocess.CompletedProcess[str]],
    bids: Path,
    tmp_path: Path,
    refusal: Refusal,
) -> None:
    out, _ = train_run
    bundle = os.path.relpath(out / "models/fmmtc")
    apply = ["--analysis", "apply", "--model", bundle, "-w", tmp_path / "work"]
    applied = tmp_path / "applied"
    parcels = f"parcels={out}"
    trained = ["--participant-label", "05", "06"]
    code, said = refusal(bids, tmp_path / "t", "group", *apply, "-d", parcels, *trained)
    assert (code, "because the model was trained on" in said) == (65, True)
    new = newcomers(out, tmp_path / "new", {"sub-05": "sub-91", "sub-06": "sub-92"})
    people = ["--participants", new / "participants.tsv"]
    done = run(bids, applied, "group", *apply, "-d", f"parcels={new}", *people)
    assert done.returncode == 0, done.stdout + done.stderr
    predictions = pd.read_csv(GroupFiles(applied, "applied").predictions, sep="\t")
    assert predictions["participant_id"].tolist() == ["sub-91", "sub-92"]
    assert GroupFiles(applied, "applied").report.exists()
    sheets = sorted(GroupFiles(applied, "applied").sheets_dir.iterdir())
    assert [path.name[:6] for path in sheets] == ["sub-91", "sub-92"]
    # What the bundle knows of its own worth has come along.
    assert all("This model was not tested." in path.read_text() for path in sheets)

    code, said = refusal(bids, tmp_path / "w", "group", *apply, "-d", parcels, "--window", "40")
    assert (code, "--window" in said) == (2, True)

    swapped = tmp_path / "swapped"
    shutil.copytree(out, swapped, ignore=shutil.ignore_patterns("group", "models", "*.html"))
    for path in swapped.rglob("*_timeseries.tsv"):
        table = pd.read_csv(path, sep="\t")
        table[table.columns[::-1]].to_csv(path, sep="\t", index=False)
    code, said = refusal(bids, tmp_path / "s", "group", *apply, "-d", f"parcels={swapped}")
    assert (code, "another order" in said) == (65, True)


def _truncate(study: Path, who: str) -> str:
    path = image_of(study, who)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return "volumes"


def _text_named_gz(study: Path, who: str) -> str:
    image_of(study, who).write_text("this is no image\n" * 40)
    return "not compressed"


def _dangling_link(study: Path, who: str) -> str:
    path = image_of(study, who)
    path.unlink()
    path.symlink_to("../../.git/annex/objects/Kf/jW/MD5E-s128--fc6e.nii.gz/MD5E-s128--fc6e.nii.gz")
    return "datalad get"


def _annex_pointer(study: Path, who: str) -> str:
    pointer = "/annex/objects/MD5E-s394112642--4b049f6b4bf07531684f58c4566.nii.gz\n"
    image_of(study, who).write_text(pointer)
    return "datalad get"


def _no_mask(study: Path, who: str) -> str:
    image_of(study, who, "brain_mask.nii.gz").unlink()
    return "desc-brain_mask"


def _mask_on_another_grid(study: Path, who: str) -> str:
    path = image_of(study, who, "brain_mask.nii.gz")
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[:-1], image.affine), path)
    return "grid"


def _short_confounds(study: Path, who: str) -> str:
    path = image_of(study, who, "desc-confounds_timeseries.tsv")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-7]))
    return "53"


SPOILS = {
    "sub-02": _truncate,
    "sub-03": _text_named_gz,
    "sub-04": _dangling_link,
    "sub-05": _annex_pointer,
    "sub-06": _no_mask,
    "sub-07": _mask_on_another_grid,
    "sub-08": _short_confounds,
}


@pytest.fixture(scope="module")
def spoiled_run(
    tmp_path_factory: pytest.TempPathFactory, bids: Path, atlas: Path
) -> tuple[Path, subprocess.CompletedProcess[str], dict[str, str]]:
    """Nine people of whom seven each have something bad of their own."""
    place = tmp_path_factory.mktemp("spoiled")
    study, out = copy_of(bids, place / "bids", range(1, 10)), place / "out"
    words = {who: spoil(study, who) for who, spoil in SPOILS.items()}
    done = run(study, out, "participant", "--atlas", atlas, "-w", place / "work")
    return out, done, words


def test_bad_inputs_stop_nobody_else(
    spoiled_run: tuple[Path, subprocess.CompletedProcess[str], dict[str, str]],
) -> None:
    out, done, _ = spoiled_run
    assert done.returncode == 1, done.stdout + done.stderr
    for who in ("sub-01", "sub-09"):
        assert f"{who}: done" in done.stdout
        assert len(list((out / who).rglob("*_timeseries.tsv"))) == 2
    assert validate(out, extended=True) == []
    assert validate(out, extended=False) == []


@pytest.mark.parametrize("who", SPOILS)
def test_a_bad_input_is_explained_and_leaves_no_table(
    spoiled_run: tuple[Path, subprocess.CompletedProcess[str], dict[str, str]], who: str
) -> None:
    out, done, words = spoiled_run
    lines = {line.split(":")[0].strip(): line for line in done.stdout.splitlines()}
    assert words[who] in lines[who]
    assert not list((out / who).rglob("*.tsv"))


@pytest.mark.slow
def test_results_of_an_older_run_do_not_outlive_a_failure(
    study: Path, atlas: Path, tmp_path: Path
) -> None:
    out, work = tmp_path / "out", tmp_path / "work"
    assert run(study, out, "participant", "--atlas", atlas, "-w", work).returncode == 0
    _truncate(study, "sub-02")
    assert run(study, out, "participant", "--atlas", atlas, "-w", work).returncode == 1
    assert not list((out / "sub-02").rglob("*_qc.tsv"))
    assert len(list(out.rglob("*_qc.tsv"))) == 2
    assert "No run finished" in (out / "sub-02.html").read_text()


def test_when_everyone_is_unusable_nothing_is_written(
    study: Path, atlas: Path, tmp_path: Path
) -> None:
    for participant in ("sub-01", "sub-02", "sub-03"):
        path = image_of(study, participant)
        path.unlink()
        path.symlink_to("../../.git/annex/objects/gone")
    out = tmp_path / "out"
    done = run(study, out, "participant", "--atlas", atlas, "-w", tmp_path / "work")
    assert done.returncode == 65
    assert done.stdout.count("datalad get") == 3
    assert not out.exists()


@pytest.mark.slow
def test_an_atlas_whose_image_lacks_labels_gives_missing_parcels(
    study: Path, atlas: Path, tmp_path: Path
) -> None:
    image = nib.load(atlas)
    labels = np.asarray(image.dataobj).copy()
    labels[labels == 7] = 0
    shutil.copytree(atlas.parent, tmp_path / "atlas")
    nib.save(nib.Nifti1Image(labels, image.affine), tmp_path / "atlas" / atlas.name)
    out = tmp_path / "out"
    done = run(
        *(study, out, "participant", "--atlas", tmp_path / "atlas"),
        *("-w", tmp_path / "work", "--participant-label", "01"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    series, _ = sorted(out.rglob("*_timeseries.tsv"))
    table = pd.read_csv(series, sep="\t", na_values="n/a")
    assert list(table.columns[table.isna().all()]) == ["Block07"]
    assert json.loads(series.with_suffix(".json").read_text())["MissingParcels"] == ["Block07"]


def test_an_atlas_image_with_labels_that_its_table_does_not_name_is_refused(
    study: Path, atlas: Path, tmp_path: Path
) -> None:
    shutil.copytree(atlas.parent, tmp_path / "atlas")
    (table,) = (tmp_path / "atlas").glob("*.tsv")
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    done = run(study, tmp_path / "out", "participant", "--atlas", tmp_path / "atlas")
    assert done.returncode == 65
    assert "24" in done.stderr
    assert not (tmp_path / "out").exists()


def test_without_the_atlas_the_command_that_fetches_it_is_named(
    study: Path, tmp_path: Path
) -> None:
    offline = dict.fromkeys(("https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    out = tmp_path / "out"
    done = run(study, out, "participant", FMMTC_CACHE_DIR=str(tmp_path / "cache"), **offline)
    assert done.returncode == 69
    assert "fmmtc-tools fetch atlas" in done.stderr
    assert not out.exists()


def _no_such_column(out: Path) -> Sequence[str | Path]:
    return ("--target", "NoSuchColumn")


def _one_class(out: Path) -> Sequence[str | Path]:
    return ("--target", "Response", "--where", "type=patient", "Response=1")


def _nobody(out: Path) -> Sequence[str | Path]:
    return ("--target", "Response", "--where", "type=martian")


def _too_many_folds(out: Path) -> Sequence[str | Path]:
    return ("--target", "Response", "--where", "type=patient", "--folds", "9")


def _no_cuda(out: Path) -> Sequence[str | Path]:
    return ("--target", "Response", "--device", "cuda:9")


def _no_weights(out: Path) -> Sequence[str | Path]:
    return ("--target", "Response", "--where", "type=patient", "--encoder", "brainlm")


def _bad_label(out: Path) -> Sequence[str | Path]:
    return ("--target", "Response", "--label", "../evil")


def _window_of_no_patches(out: Path) -> Sequence[str | Path]:
    return ("--target", "Response", "--where", "type=patient", "--window", "50")


def _work_dir_inside_the_input(out: Path) -> Sequence[str | Path]:
    return ("--target", "Response", "-w", out / "work")


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (_no_such_column, 2, "Response"),
        (_one_class, 65, "Response"),
        (_nobody, 65, "martian"),
        (_too_many_folds, 65, "folds"),
        (_no_cuda, 2, "cuda:9"),
        (_no_weights, 69, "--encoder-weights"),
        (_bad_label, 2, "--label"),
        (_window_of_no_patches, 2, "multiples of 20"),
        (_work_dir_inside_the_input, 2, "--work-dir"),
    ],
)
def test_a_group_run_that_cannot_start_says_why(
    flags: Callable[[Path], Sequence[str | Path]],
    code: int,
    words: str,
    participant_run: tuple[Path, subprocess.CompletedProcess[str]],
    bids: Path,
    tmp_path: Path,
    refusal: Refusal,
) -> None:
    series, _ = participant_run
    out = tmp_path / "out"
    given = flags(series)
    random = () if "--encoder" in given else ("--encoder", "random")
    found, said = refusal(
        *(bids, out, "group", "--derivatives", f"parcels={series}", "-w", tmp_path / "work"),
        *("--window", "60", *given, *random),
    )
    assert found == code, said
    assert words in said
    assert not out.exists()


def test_a_checkpoint_that_lacks_a_tensor_is_refused(
    shared: Path,
    participant_run: tuple[Path, subprocess.CompletedProcess[str]],
    bids: Path,
    tmp_path: Path,
    refusal: Refusal,
) -> None:
    import torch

    series, _ = participant_run
    weights = tmp_path / "weights"
    shutil.copytree(shared / "reference/brainlm-tiny", weights)
    (weights / "pytorch_model.bin").chmod(0o644)
    state = torch.load(weights / "pytorch_model.bin", weights_only=True)
    del state["vit.encoder.layer.0.attention.self.conv.weight"]
    torch.save(state, weights / "pytorch_model.bin")
    code, said = refusal(
        *(bids, tmp_path / "out", "group", "--derivatives", f"parcels={series}"),
        *("--encoder-weights", weights, "-w", tmp_path / "work", *TRAIN.split()[:4]),
    )
    assert code == 65, said
    assert "vit.encoder.layer.0.attention.self.conv.weight" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_image_can_be_stored_uncompressed(study: Path, atlas: Path, tmp_path: Path) -> None:
    outs = []
    for name in ("packed", "plain"):
        outs.append(tmp_path / name)
        words = ("--atlas", atlas, "-w", tmp_path / f"work-{name}", "--participant-label", "01")
        done = run(study, outs[-1], "participant", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        packed = image_of(study, "sub-01") if name == "packed" else None
        if packed:
            packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
            packed.unlink()
    first, second = (next(out.rglob("*_timeseries.tsv")).read_bytes() for out in outs)
    assert first == second
