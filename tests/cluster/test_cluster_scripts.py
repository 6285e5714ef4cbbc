"""The scripts of docs/hpc.md, submitted; a shim called apptainer runs the command itself."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
from hpc_page import job_script
from loopback import PEOPLE, Slurm, outcome
from parcel_study import group_command, write_parcel_study, written
from small_study import fmmtc, func_file

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

# It takes the words of a container off, and turns its paths into those that were bound to them.
SHIM = """#!/bin/bash
set -euo pipefail
mode=$1
binds=()
while [ "$1" != fmmtc.sif ]; do
    [ "$1" = -B ] && binds+=("$2")
    shift
done
shift
words=()
for word in "$@"; do
    for bind in "${binds[@]}"; do
        IFS=: read -r here there _ <<<"$bind"
        [[ $word/ = "$there"/* ]] && word=$here${word#"$there"}
    done
    words+=("$word")
done
[ "$mode" = run ] || exec "$(dirname PYTHON)/${words[@]}"
[ -z "${CUDA_VISIBLE_DEVICES-}" ] || echo "GPU $CUDA_VISIBLE_DEVICES, in the container" \\
    "$APPTAINERENV_CUDA_VISIBLE_DEVICES"
exec PYTHON -m fmmtc_bidsapp "${words[@]}" $MORE
"""
LIMITS = {
    "PARTITION": "short",
    "GPU_PARTITION": "gpu",
    "INTERFACE": "lo",
    "--ntasks=16": "--ntasks=2",
    "1-100%20": f"1-{len(PEOPLE) + 1}%2",
    "--cpus-per-task=2": "--cpus-per-task=1",
    "--cpus-per-task=8": "--cpus-per-task=1",
    "--mem=32G": "--mem=2G",
    "--mem=8G": "--mem=2G",
}


@pytest.fixture
def place(tmp_path: Path, bids: Path) -> Path:
    """A folder that the scripts find bids in, and leave out, work and logs in."""
    shutil.copytree(bids, tmp_path / "bids")
    shim = tmp_path / "bin" / "apptainer"
    shim.parent.mkdir()
    shim.write_text(SHIM.replace("PYTHON", sys.executable))
    shim.chmod(0o755)
    return tmp_path


def submit(slurm: Slurm, place: Path, mark: str, more: str = "") -> tuple[str, int]:
    """Submit a script of the page and wait, -> the job's number, and sbatch's exit code."""
    text = job_script(mark)
    for said, meant in LIMITS.items():
        text = re.sub(rf"(?<!\w){re.escape(said)}(?!\w)", meant, text)
    text = text.replace("/data/ME", str(place)).replace("/scratch/ME", str(place))
    script = place / "job.sh"
    script.write_text(text)
    path = f"{place / 'bin'}:/usr/bin:/bin"
    told = {"PATH": path, "HOME": str(place), "MORE": more, "FMMTC_CACHE_DIR": "/nonexistent"}
    command = f"cd {place} && sbatch --parsable --wait {script}; echo $?"
    job, code = slurm.ask("bash", "-c", command, **told).split()
    return job, int(code)


def test_tasks_of_the_array_share_the_output_and_pass_their_exit_codes_on(
    slurm: Slurm, place: Path, atlas: Path
) -> None:
    image = func_file(place / "bids", "sub-02")
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    tasks = range(1, len(PEOPLE) + 2)
    job, code = submit(slurm, place, "--array", f"--atlas {atlas}")
    first, second, third = ((place / f"fmmtc-{job}_{task}.log").read_text() for task in tasks)
    codes = [slurm.about(f"{job}_{task}")["ExitCode"] for task in tasks]
    assert codes == ["0:0", "65:0", "0:0"], first + second
    assert code == 65
    assert "sub-01: done" in first
    assert "sub-02: failed" in second
    assert third == "No participant number 3.\n"

    image.write_bytes(whole)
    _, code = submit(slurm, place, "--array", f"--atlas {atlas}")
    assert code == 0
    bids, here = place / "bids", place / "here"
    done = fmmtc(bids, here, "participant", "--atlas", atlas, "-w", place / "work_here")
    assert done.code == 0, done.text
    assert outcome(place / "fmmtc") == outcome(here)


def test_workers_from_the_image_fit_the_folds_of_the_command_beside_them(
    slurm: Slurm, place: Path, tmp_path: Path
) -> None:
    shutil.rmtree(place / "bids")
    study = write_parcel_study(place / "bids", people=8)
    command = group_command(study, tmp_path / "here", tmp_path / "work_here", "--permutations", "0")
    done = fmmtc(*command[3:])
    assert done.code == 0, done.text

    at = command.index("--work-dir")
    more = [*command[command.index("--target") : at], *command[at + 2 :]]
    job, code = submit(slurm, place, "dask scheduler", " ".join(more))
    text = (place / f"fmmtc-fits-{job}.log").read_text()
    assert code == 0, text
    assert "Steps run on the workers of tcp://127.0.0.1:" in text
    assert text.count("Start worker at:") == 2
    assert written(place / "fmmtc") == written(tmp_path / "here")


def test_the_job_for_a_gpu_is_given_one_and_says_where_pytorch_sees_none(
    slurm: Slurm, place: Path
) -> None:
    job, code = submit(slurm, place, "--gres", "--encoder random")
    text = (place / f"fmmtc-group-{job}.log").read_text()
    assert "GPU 0, in the container 0" in text
    assert code == 2, text
    assert "--device is cuda, but PyTorch" in text
