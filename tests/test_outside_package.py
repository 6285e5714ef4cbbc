"""Another package adds networks, a modality and a strategy, and no file of ours is edited."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from outside import SOURCE, install_outside_package
from parcel_study import TINY, write_parcel_study

from fmmtc_bidsapp.bidsio.files.names import GroupFiles

GENES = [f"G{i}" for i in range(5)]
LACKING = "sub-16"


def command(*words: str | Path, site: Path | None) -> subprocess.CompletedProcess[str]:
    """Run ``fmmtc`` with the packages of a folder, as a user would."""
    paths = [str(Path(__file__).parents[1]), *([] if site is None else [str(site)])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "FMMTC_CACHE_DIR": "/nonexistent",
    }
    return subprocess.run(
        [sys.executable, "-m", "fmmtc_bidsapp", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=280,
    )


def study_with_genes(folder: Path, people: int, seed: int) -> Path:
    """Write a study whose last participant has no genes."""
    study = write_parcel_study(folder, people, effect=0.6, seed=seed)
    names = pd.read_csv(study / "participants.tsv", sep="\t")["participant_id"][:-1]
    values = np.random.default_rng(seed).normal(size=(len(names), len(GENES)))
    table = pd.DataFrame(values, columns=GENES)
    table.insert(0, "participant_id", names)
    (study / "phenotype").mkdir()
    table.to_csv(study / "phenotype" / "genes.tsv", sep="\t", index=False)
    return study


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the study, new people and the package; train its network of three streams."""
    folder = tmp_path_factory.mktemp("outside")
    study_with_genes(folder / "study", 16, seed=0)
    study_with_genes(folder / "new", 12, seed=1)
    install_outside_package(folder / "site")
    (folder / "plugin.yml").write_text("plugin: Linear\n")
    done = command(*training(folder), site=folder / "site")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def training(folder: Path, *words: str) -> list[str | Path]:
    """Spell the training, the network of three streams first."""
    study = folder / "study"
    return [
        study,
        folder / "out",
        "group",
        *("--target", "response", "--derivatives", f"parcels={study / 'derivatives' / 'parcels'}"),
        *("--work-dir", folder / "work", "--use-plugin", folder / "plugin.yml", *TINY.split()),
        *("--network", "fc-with-genes", "fc-perceptron", "--permutations", "0"),
        *("--show-unsupported-maps", "--null-maps", "2", "--explain", "parcels", *words),
    ]


def application(folder: Path) -> list[str | Path]:
    """Spell how the bundle is applied to new people."""
    new = folder / "new"
    return [
        new,
        folder / "applied",
        "group",
        *("--analysis", "apply", "--model", folder / "out" / "models" / "fmmtc"),
        *("--derivatives", f"parcels={new / 'derivatives' / 'parcels'}", "--bootstrap", "50"),
        *("--work-dir", folder / "work", "--use-plugin", folder / "plugin.yml"),
    ]


@pytest.fixture(scope="module")
def files(place: Path) -> GroupFiles:
    return GroupFiles(place / "out", "fmmtc")


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", na_values="n/a", keep_default_na=False)


def test_networks_of_another_package_are_trained_and_judged_under_their_titles(files):
    auroc = read(files.metrics).query("metric == 'auroc'").set_index("model")["mean"]
    assert auroc[["fc-with-genes", "fc-perceptron", "fc-logistic"]].between(0, 1).all()
    page = files.report.read_text()
    assert "Series, FC and genes" in page
    assert "Perceptron on FC" in page


def test_who_lacks_the_modality_is_left_out_with_the_reason_and_counted(files):
    (row,) = read(files.exclusions).query("stage == 'modality'").to_dict("records")
    assert (row["participant_id"], row["reason"]) == (LACKING, "no gene expression")
    assert LACKING not in set(read(files.predictions)["participant_id"])
    steps = read(files.eligibility).set_index("step")["n"]
    assert (steps["with usable series"], steps["with gene expression"]) == (16, 15)


def test_each_of_three_streams_has_its_share_and_what_the_auroc_loses_without_it(files):
    shares = read(files.modality).query("model == 'fc-with-genes'").set_index("modality")
    assert list(shares.index) == ["series", "connectivity", "genes"]
    assert shares["share"].sum() == pytest.approx(1)
    assert shares["auroc_lost"].notna().all()
    assert (shares["n_null"] == 2).all()
    assert "of gene expression" in files.report.read_text()


def test_the_places_of_the_modality_have_a_map_by_their_names(files):
    rows = read(files.attributions).query("model == 'fc-with-genes' and source == 'genes'")
    assert list(rows["level"]) == ["gene"] * 5
    assert list(rows["name"]) == GENES
    assert rows["attribution"].sum() == pytest.approx(1)
    assert (rows["attribution"] >= rows["signed"].abs()).all()
    parcels = read(files.attributions).query("model == 'fc-with-genes' and level == 'parcel'")
    assert set(parcels["source"]) == {"series", "connectivity"}
    assert "G3" in files.report.read_text()


def test_the_bundle_names_the_package_and_what_it_needs_of_the_modality(files):
    config = json.loads((files.bundle_dir / "config.json").read_text())
    assert [(each["group"], each["name"]) for each in config["packages"]] == [
        ("fmmtc.networks", "fc-with-genes"),
        ("fmmtc.modalities", "genes"),
    ]
    assert {(each["distribution"], each["version"]) for each in config["packages"]} == {
        ("lab-fmri", "1.2")
    }
    prepared = json.loads((files.bundle_dir / "preprocessing.json").read_text())
    assert prepared["modalities"] == {"genes": GENES}
    about = json.loads(files.metrics.with_suffix(".json").read_text())
    assert about["Packages"] == ["lab-fmri==1.2"]


def test_the_bundle_predicts_new_people_who_have_the_modality(place, files):
    done = command(*application(place), site=place / "site")
    assert done.returncode == 0, done.stdout + done.stderr
    predicted = read(GroupFiles(place / "applied", "applied").predictions)
    assert len(predicted) == 11
    assert predicted["probability"].between(0, 1).all()


def test_without_the_package_the_bundle_is_refused_with_what_to_install(place, files):
    done = command(*application(place), site=None)
    assert done.returncode == 69
    assert "pip install lab-fmri==1.2" in done.stderr


@pytest.mark.slow
def test_another_version_of_the_package_is_told(place, files, tmp_path):
    site = install_outside_package(tmp_path, version="2.0")
    done = command(*application(place), "--dry-run", site=site)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lab-fmri 1.2, and 2.0 is installed" in done.stdout


@pytest.mark.slow
def test_places_in_another_order_are_refused(place, files, tmp_path):
    path = place / "new" / "phenotype" / "genes.tsv"
    before = path.read_text()
    table = pd.read_csv(path, sep="\t")
    table[["participant_id", *GENES[::-1]]].to_csv(path, sep="\t", index=False)
    done = command(*application(place), "--dry-run", site=place / "site")
    path.write_text(before)
    assert done.returncode == 65
    assert "their order must be the same" in done.stderr


def test_the_help_lists_what_other_packages_add(place):
    done = command("--help", site=place / "site")
    text = " ".join(done.stdout.split())
    assert "Of other packages: fc-perceptron (lab-fmri), fc-with-genes (lab-fmri)." in text
    assert "Of other packages: mild (lab-fmri)." in text


@pytest.mark.slow
def test_an_unknown_network_is_refused_with_the_names_of_both(place):
    done = command(*training(place, "--network", "nosuch"), site=place / "site")
    assert done.returncode == 2
    assert "fc-with-genes" in done.stderr


@pytest.mark.slow
def test_who_lacks_a_modality_that_is_filled_stays_and_is_counted(tmp_path):
    site = install_outside_package(tmp_path / "site")
    source = site / "lab_fmri" / "genes.py"
    source.write_text(source.read_text().replace('missing="leave out"', 'missing="fill"'))
    study_with_genes(tmp_path / "study", 12, seed=0)
    (tmp_path / "plugin.yml").write_text("plugin: Linear\n")
    words = training(tmp_path, "--explain", "features", "--null-maps", "0")
    done = command(*words, site=site)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 12 people lack gene expression; they are kept, with values filled" in done.stdout
    files = GroupFiles(tmp_path / "out", "fmmtc")
    predicted = read(files.predictions)
    assert list(predicted["participant_id"]).count("sub-12") == 1
    assert predicted["probability"].between(0, 1).all()
    about = json.loads(files.metrics.with_suffix(".json").read_text())
    assert about["PeopleWithout"] == {"genes": 1}


def test_a_strategy_is_one_data_file_of_the_package(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "lab_fmri", raising=False)
    from fmmtc_bidsapp.bidsio.tables.strategy import read_strategy

    monkeypatch.syspath_prepend(str(install_outside_package(tmp_path)))
    found = read_strategy("mild")
    assert found is not None
    assert found.name == "mild"
    assert found.title == "six motion parameters and cosines (of lab-fmri 1.2)"
    assert [each.alternatives for each in found.regressors] == [
        (("(trans|rot)_[xyz]",),),
        ((r"cosine\d+",),),
    ]


@pytest.mark.parametrize(
    ("page", "shown"),
    [
        ("network.md", ["lab_fmri/fc_perceptron.py"]),
        ("modality.md", ["lab_fmri/genes.py"]),
        ("strategy.md", ["lab_fmri/mild.yml"]),
    ],
)
def test_the_pages_show_the_files_of_the_package_as_they_are(page, shown):
    text = (SOURCE.parents[1] / "docs" / "extend" / page).read_text()
    for name in shown:
        assert (SOURCE / name).read_text() in text
    for line in text.splitlines():
        if " = " in line and "lab_fmri" in line and not line.startswith(" "):
            assert line in (SOURCE / "pyproject.toml").read_text()
