"""An encoder of another package, through training, maps, application and reports."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from parcel_study import environment, group_command, write_parcel_study

from fmmtc_bidsapp.bidsio.files.names import GroupFiles

MODULE = Path(__file__).parent / "outside_encoder" / "lab_encoder.py"
FLAGS = "--encoder slow-power --epochs 2 --folds 2 --inner-folds 2 --permutations 0"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the module and its entry point, as pip would."""
    site = tmp_path_factory.mktemp("site")
    shutil.copy(MODULE, site)
    info = site / "lab_encoder-1.0.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: lab-encoder\nVersion: 1.0\n")
    info.joinpath("entry_points.txt").write_text(
        "[fmmtc.encoders]\nslow-power = lab_encoder:ENCODER\n"
    )
    return site


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parcel_study(tmp_path_factory.mktemp("study") / "study")


def run(site: Path, study: Path, out: Path, flags: str) -> subprocess.CompletedProcess[str]:
    command = group_command(study, out, out.with_name("work"), *flags.split())
    if "apply" in flags:
        command = [
            *command[: command.index("--target")],
            *("--derivatives", f"parcels={study / 'derivatives' / 'parcels'}"),
            *("--work-dir", str(out.with_name("work")), *flags.split()),
        ]
    paths = os.pathsep.join([str(site), environment().get("PYTHONPATH", str(Path.cwd()))])
    return subprocess.run(
        command,
        env=environment() | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def trained(site: Path, study: Path) -> tuple[Path, str]:
    out = study.with_name("out")
    flags = f"{FLAGS} --network brainlm svm --features encoder --explain parcels"
    done = run(site, study, out, f"{flags} --show-unsupported-maps --null-maps 0")
    assert done.returncode == 0, done.stdout + done.stderr
    return out, done.stdout


def test_every_table_and_report_calls_the_encoder_by_its_own_title(
    trained: tuple[Path, str],
) -> None:
    out, told = trained
    assert "Encoder: Slow power" in told
    files = GroupFiles(out, "fmmtc")
    about = json.loads(files.metrics.with_suffix(".json").read_text())
    assert about["EncoderTitle"] == "Slow power"
    assert about["ModelNames"]["brainlm"] == "Slow power (frozen)"
    assert about["ModelNames"]["svm-encoder"] == "SVM on Slow power"
    comparison = pd.read_csv(files.comparison, sep="\t")
    assert {"Slow power (frozen)", "SVM on Slow power"} <= set(comparison["title"])
    config = json.loads((files.bundle_dir / "config.json").read_text())
    assert config["title"] == "Slow power (frozen)"
    for page in out.rglob("*.html"):
        text = page.read_text()
        assert "BrainLM (" not in text
        assert "pre-trained BrainLM" not in text


def test_maps_go_back_through_it(trained: tuple[Path, str]) -> None:
    path = trained[0] / "group" / "group_desc-fmmtc_attributions.tsv"
    maps = pd.read_csv(path, sep="\t")
    of_series = maps[(maps["model"] == "brainlm") & (maps["source"] == "series")]
    assert len(of_series)
    assert of_series["attribution"].abs().sum() > 0


@pytest.mark.slow
def test_its_bundle_is_applied_and_needs_the_same_package(
    site: Path, study: Path, trained: tuple[Path, str], tmp_path: Path
) -> None:
    bundle = GroupFiles(trained[0], "fmmtc").bundle_dir
    flags = f"--analysis apply --model {bundle} --label new"
    new = write_parcel_study(tmp_path / "new", seed=1)
    done = run(site, new, tmp_path / "out", flags)
    assert done.returncode == 0, done.stdout + done.stderr
    predictions = pd.read_csv(GroupFiles(tmp_path / "out", "new").predictions, sep="\t")
    assert predictions["probability"].between(0, 1).all()
    without = run(tmp_path, new, tmp_path / "none", flags)
    assert without.returncode == 69
    assert "slow-power" in without.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--network brainlm-tuned", "tuned from BrainLM's weights"),
        ("--network fmmtc-untrained", "beside --encoder brainlm alone"),
    ],
)
def test_what_is_brainlms_alone_is_refused(
    site: Path, study: Path, tmp_path: Path, flags: str, message: str
) -> None:
    done = run(site, study, tmp_path / "out", f"{FLAGS} {flags}")
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr


def test_without_the_package_the_encoder_is_unknown(study: Path, tmp_path: Path) -> None:
    done = run(tmp_path, study, tmp_path / "out", FLAGS)
    assert done.returncode == 2
    assert "--encoder is 'slow-power'; allowed are brainlm, random, none." in done.stderr


def test_the_page_shows_the_encoder_that_is_tested() -> None:
    page = MODULE.parents[2] / "docs" / "extend" / "encoder.md"
    assert f"```python\n{MODULE.read_text()}```\n" in page.read_text()
