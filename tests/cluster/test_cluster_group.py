"""The group level with its folds in jobs of SLURM: the same bytes as on one machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from loopback import Slurm, write_plugin
from parcel_study import group_command, write_parcel_study, written
from small_study import fmmtc

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

MODELS = ("--network", "fmmtc", "svm", "--features", "fc", "--permutations", "0")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parcel_study(tmp_path_factory.mktemp("tiny") / "study", people=8)


def test_folds_in_jobs_end_in_the_same_bytes_as_on_one_machine(
    slurm: Slurm, study: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    done = fmmtc(*group_command(study, here, tmp_path / "work", *MODELS)[3:])
    assert done.code == 0, done.text

    there, plugin = (
        tmp_path / "there",
        write_plugin("slurm.yml", tmp_path / "slurm.yml", memory="3GB"),
    )
    words = group_command(study, there, tmp_path / "jobs", *MODELS, "--use-plugin", plugin)[3:]
    ended = slurm.fmmtc(*words)
    assert ended.code == 0, ended.text
    assert written(there) == written(here)
    logs = "".join(path.read_text() for path in (tmp_path / "jobs" / "jobs").glob("*"))
    for fold in (0, 1):
        for fitted in ("fit_fmmtc", "fit_svm_fc", "fit_fc_logistic"):
            assert f"{fitted}_repeat_0_fold_{fold}" in logs
