"""The group level with its folds as jobs of SLURM: the same bytes as on one machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from hpc_page import ROOT
from loopback import Slurm
from parcel_study import group_command, write_parcel_study, written
from small_study import fmmtc

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

PLUGIN = ROOT / "docs" / "plugins" / "slurm.yml"
MODELS = ("--network", "fmmtc", "svm", "--features", "fc", "--permutations", "0")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parcel_study(tmp_path_factory.mktemp("tiny") / "study", people=8)


def test_folds_as_jobs_end_in_the_same_bytes_as_on_one_machine(
    slurm: Slurm, study: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    done = fmmtc(*group_command(study, here, tmp_path / "work", *MODELS)[3:])
    assert done.code == 0, done.text

    there = tmp_path / "there"
    words = group_command(study, there, tmp_path / "jobs", *MODELS, "--use-plugin", PLUGIN)[3:]
    ended = slurm.fmmtc(*words)
    assert ended.code == 0, ended.text
    assert written(there) == written(here)
    names = slurm.jobs("COMPLETED")
    for fold in (0, 1):
        fitted = {name.partition("_repeat_")[0] for name in names if f"fold_{fold}" in name}
        assert {"fit_fmmtc", "fit_svm_fc", "fit_fc_logistic"} <= fitted
