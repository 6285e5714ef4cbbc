import json
import subprocess
import sys
from pathlib import Path

import pytest

from fmmtc_bidsapp.bidsio.derivatives import dataset
from fmmtc_bidsapp.bidsio.derivatives.dataset import (
    check_configuration,
    check_output_dir,
    prepare_output,
    require_joined,
    require_written,
    run_id_after,
)
from fmmtc_bidsapp.bidsio.files import run_lock as hold
from fmmtc_bidsapp.bidsio.files.run_lock import holding
from fmmtc_bidsapp.errors import OutputError, UsageError


def prepare(root, *, config_hash="aaa", desc="none", version="0.1.0", sources=None):
    prepare_output(root, config_hash=config_hash, desc=desc, sources=sources or {}, version=version)
    return json.loads((root / "dataset_description.json").read_text())


def test_a_new_folder_becomes_a_derivative_dataset(tmp_path, monkeypatch):
    monkeypatch.setenv("FMMTC_CONTAINER", "fmmtc:0.1.0")
    description = prepare(tmp_path / "a" / "out", sources={"fmriprep": tmp_path / "prep"})
    maker = description["GeneratedBy"][0]
    assert description["DatasetType"] == "derivative"
    assert (maker["Name"], maker["Version"]) == ("fmmtc_bidsapp", "0.1.0")
    assert maker["ConfigurationHash"] == {"none": "aaa"}
    assert maker["Container"]["Tag"] == "fmmtc:0.1.0"
    assert description["DatasetLinks"] == {"fmriprep": (tmp_path / "prep").as_uri()}


def test_another_label_joins_the_dataset(tmp_path):
    prepare(tmp_path, sources={"fmriprep": tmp_path})
    description = prepare(tmp_path, config_hash="bbb", desc="simple", sources={"raw": tmp_path})
    hashes = description["GeneratedBy"][0]["ConfigurationHash"]
    assert hashes == {"none": "aaa", "simple": "bbb"}
    assert set(description["DatasetLinks"]) == {"fmriprep", "raw"}
    assert "*_desc-simple_qc.tsv" in (tmp_path / ".bidsignore").read_text().splitlines()


def finish_a_run(root, desc):
    table = root / "sub-01" / "ses-1" / "func" / f"sub-01_ses-1_task-rest_desc-{desc}_qc.tsv"
    table.parent.mkdir(parents=True)
    table.write_text("")


def test_another_configuration_under_the_same_label_is_refused_with_both_hashes(tmp_path):
    prepare(tmp_path)
    finish_a_run(tmp_path, "none")
    with pytest.raises(UsageError, match=r"none.*aaa.*bbb"):
        prepare(tmp_path, config_hash="bbb")
    with pytest.raises(UsageError, match=r"none.*aaa.*bbb"):
        check_configuration(tmp_path, {"none": "bbb"}, {})


def test_other_sources_under_the_same_name_are_refused_before_anything_is_written(tmp_path):
    prepare(tmp_path, sources={"parcels": tmp_path / "mine"})
    check_configuration(tmp_path, {"none": "aaa"}, {"parcels": tmp_path / "mine"})
    with pytest.raises(UsageError, match=r"mine.*others.*'parcels'"):
        check_configuration(tmp_path, {"none": "aaa"}, {"parcels": tmp_path / "others"})


def test_other_parcel_means_are_refused_with_the_flags_that_decide_them(tmp_path):
    prepare(tmp_path, desc="parcel-means")
    finish_a_run(tmp_path, "simple")
    with pytest.raises(UsageError, match=r"parcel means.*output folder.*--min-coverage"):
        prepare(tmp_path, desc="parcel-means", config_hash="bbb")


def test_a_configuration_that_gave_no_result_binds_no_one(tmp_path):
    prepare(tmp_path)
    check_configuration(tmp_path, {"none": "bbb"}, {})
    description = prepare(tmp_path, config_hash="bbb")
    assert description["GeneratedBy"][0]["ConfigurationHash"] == {"none": "bbb"}


def test_the_same_configuration_may_run_again_and_leaves_no_lock(tmp_path):
    assert prepare(tmp_path) == prepare(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".bidsignore",
        "dataset_description.json",
        "logs",
    ]


def test_another_programs_dataset_is_not_joined(tmp_path):
    description = {"Name": "x", "GeneratedBy": [{"Name": "XCP-D"}]}
    (tmp_path / "dataset_description.json").write_text(json.dumps(description))
    with pytest.raises(UsageError, match="a dataset of XCP-D"):
        prepare(tmp_path)


def test_a_broken_description_is_refused(tmp_path):
    (tmp_path / "dataset_description.json").write_text("{")
    with pytest.raises(UsageError, match="cannot be read"):
        prepare(tmp_path)


@pytest.mark.parametrize("length", [0, 1, 20, -3])
def test_a_description_of_ours_that_was_cut_is_written_anew_with_what_it_said(tmp_path, length):
    prepare(tmp_path, sources={"fmriprep": tmp_path / "prep"})
    prepare(tmp_path, desc="simple", config_hash="bbb")
    path = tmp_path / "dataset_description.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:length])
    prepare(tmp_path)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("damage", [lambda path: path.write_text("{"), lambda path: path.unlink()])
def test_a_cut_description_does_not_let_another_configuration_in(tmp_path, damage):
    prepare(tmp_path)
    finish_a_run(tmp_path, "none")
    damage(tmp_path / "dataset_description.json")
    with pytest.raises(UsageError, match=r"none.*aaa.*bbb"):
        prepare(tmp_path, config_hash="bbb")


def test_another_configuration_is_refused_while_a_run_of_the_first_is_alive(tmp_path, monkeypatch):
    monkeypatch.setattr(hold, "_PATIENCE_S", 0.0)
    with holding():
        prepare(tmp_path)
        # Others of the same configuration, as jobs of an array, come in.
        prepare(tmp_path)
        with pytest.raises(UsageError, match=r"Another run is writing.*aaa.*bbb.*Wait until"):
            prepare(tmp_path, config_hash="bbb")
        assert prepare(tmp_path)["GeneratedBy"][0]["ConfigurationHash"] == {"none": "aaa"}
        prepare(tmp_path, desc="simple", config_hash="bbb")
    assert prepare(tmp_path, config_hash="ccc")["GeneratedBy"][0]["ConfigurationHash"] == {
        "none": "ccc",
        "simple": "bbb",
    }


def test_a_run_that_was_killed_holds_its_configuration_no_longer(tmp_path):
    code = (
        "import os, signal; from pathlib import Path\n"
        "from fmmtc_bidsapp.bidsio.derivatives.dataset import prepare_output\n"
        "from fmmtc_bidsapp.bidsio.files.run_lock import holding\n"
        "with holding():\n"
        f"    prepare_output(Path({str(tmp_path)!r}), config_hash='aaa', desc='none', sources={{}},"
        " version='0.1.0')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -9
    assert prepare(tmp_path, config_hash="bbb")["GeneratedBy"][0]["ConfigurationHash"] == {
        "none": "bbb"
    }


@pytest.mark.parametrize("link", ["sub-01", "sub-01/ses-1", "sub-01/ses-1/func", "group", "logs"])
def test_a_folder_of_the_output_that_is_a_link_out_of_it_is_refused(tmp_path, link):
    out, outside = tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    (out / link).parent.mkdir(parents=True)
    (out / link).symlink_to(outside)
    with pytest.raises(UsageError, match=rf"{link} is a link to a place outside the output"):
        check_output_dir(out, [])


def test_a_link_that_stays_in_the_output_or_leads_to_it_is_no_fault(tmp_path):
    out = tmp_path / "disk" / "out"
    (out / "sub-01").mkdir(parents=True)
    (out / "sub-02").symlink_to("sub-01")
    (tmp_path / "out").symlink_to(out)
    check_output_dir(tmp_path / "out", [])


def test_an_output_that_is_gone_or_another_ones_is_known_before_a_run_says_done(tmp_path):
    out = tmp_path / "out"
    prepare(out)
    require_joined(out, {"none": "aaa"})
    with pytest.raises(UsageError, match=r"now has another configuration.*aaa.*bbb"):
        require_joined(out, {"none": "bbb"})
    (out / "logs" / "a.tsv").write_text("")
    with pytest.raises(OutputError, match=r"a\.tsv is empty.*same command again"):
        require_written(out, [out / "logs" / "a.tsv"])
    out.rename(tmp_path / "moved")
    with pytest.raises(OutputError, match="deleted, moved or changed during this run"):
        require_joined(out, {"none": "aaa"})
    out.symlink_to(tmp_path / "moved")
    (tmp_path / "outside").mkdir()
    (out / "sub-01").symlink_to(tmp_path / "outside")
    with pytest.raises(OutputError, match="a link to a place outside the output"):
        require_joined(out, {"none": "aaa"})


def test_a_lock_left_by_a_killed_run_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "LOCK_TIMEOUT_S", 0.05)
    lock = tmp_path / ".fmmtc_bidsapp.lock"
    lock.write_text("")
    # Also one of this machine, where the file system cannot exchange two names.
    with pytest.raises(OutputError, match=r"\.fmmtc_bidsapp\.lock.*delete this"):
        prepare(tmp_path)


def test_a_lock_of_a_process_that_is_gone_holds_no_one_up(tmp_path):
    lock = tmp_path / ".fmmtc_bidsapp.lock"
    code = f"from filelock import SoftFileLock as Lock; held = Lock({str(lock)!r}); held.acquire()"
    subprocess.run([sys.executable, "-c", f"{code}; import os; os._exit(1)"], check=False)
    assert lock.is_file()
    prepare(tmp_path)
    assert not lock.exists()


def test_it_does_not_matter_which_run_came_first(tmp_path):
    sources = [{"raw": tmp_path}, {"fmriprep": tmp_path}]
    for order, folder in ((sources, "a"), (sources[::-1], "b")):
        for each in order:
            prepare(tmp_path / folder, sources=each)
    one, other = (tmp_path / each / "dataset_description.json" for each in ("a", "b"))
    assert one.read_bytes() == other.read_bytes()


def test_a_run_is_dated_after_those_before_it_whatever_the_clock_says():
    logs = [Path("log/20260307-120000_a"), Path("log/20260307-235959_b")]
    assert run_id_after("20260308-000000_c", logs) == "20260308-000000_c"
    assert run_id_after("20260307-110000_c", logs) == "20260308-000000_c"
    assert run_id_after("20260307-110000_c", []) == "20260307-110000_c"


@pytest.mark.parametrize("name", ["notes", "old", "99999999-999999_x", "20260309"])
def test_a_folder_of_another_name_beside_the_runs_is_not_looked_at(name):
    assert run_id_after("20260307-110000_c", [Path("log") / name]) == "20260307-110000_c"
    logs = [Path("log/20260307-235959_b"), Path("log") / name]
    assert run_id_after("20260307-110000_c", logs) == "20260308-000000_c"


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot write to"):
        prepare(tmp_path / "file" / "out")


@pytest.mark.parametrize("inside", [".", "sub-01", "sub-01/func"])
def test_an_output_folder_within_the_input_is_refused(tmp_path, inside):
    with pytest.raises(UsageError, match="nothing is written"):
        check_output_dir(tmp_path / inside, [tmp_path])


@pytest.mark.parametrize("beside", ["derivatives/fmmtc", "../other", ".."])
def test_an_output_folder_beside_the_inputs_subjects_is_allowed(tmp_path, beside):
    check_output_dir(tmp_path / "in" / beside, [tmp_path / "in"])
