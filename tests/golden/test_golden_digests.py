"""Whether the golden gate finds what changed, names it, and lets dates and sentences pass."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from golden import NOT_COMPARABLE, compare, machine, record, unlike
from golden_digests import differences, digest_folder
from safetensors.numpy import save_file

RUNS = (
    "20260101-000000_00000000-0000-4000-8000-000000000000",
    "20260102-000000_00000000-0000-4000-8000-000000000001",
)
METRICS = "out/group/metrics.tsv"
SIDECAR = "out/group/metrics.json"
VALUES = {
    "GeneratedBy": [{"Name": "fmmtc_bidsapp", "Version": "0.1.0"}],
    "Date": "made on 2026-01-01T00:00:00Z",
    "Run": RUNS[0],
    "Description": "Area under the curve.",
    "Notes": ["One sentence.", "Another one."],
    "verdict": "no evidence of prediction",
    "auroc": 0.75,
    "auroc_low": None,
}


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """Write an output with a file of every kind."""
    folder = tmp_path / "before"
    for name in ("out/group", "out/models", f"out/log/{RUNS[0]}", "out/logs/finished"):
        (folder / name).mkdir(parents=True)
    (folder / METRICS).write_text("model\tauroc\tauroc low\nfmmtc\t0.75\t0.5\nsvm\t0.5\tn/a\n")
    (folder / SIDECAR).write_text(json.dumps({**VALUES, "Source": f"file://{folder}/out"}))
    save_file({"weights": np.arange(3.0)}, folder / "out/models/model.safetensors")
    salted = {"people": {"salt": "ab", "labels": ["cd", "ef"]}, "n": 2}
    (folder / "out/models/people.json").write_text(json.dumps(salted))
    (folder / "out/report.html").write_text("<p>Good morning</p>")
    (folder / f"out/log/{RUNS[0]}/plan.toml").write_text('work_dir = "/here"')
    (folder / "out/logs/finished/step.json").write_text('{"inputs": {"/here": [1, 2]}}')
    return folder


@pytest.fixture
def after(before: Path) -> Path:
    """Copy the output to another place, as a second run would write it."""
    folder = before.with_name("after")
    shutil.copytree(before, folder)
    rewrite(folder, Source=f"file://{folder}/out")
    return folder


def rewrite(folder: Path, **values: object) -> None:
    path = folder / SIDECAR
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def told(before: Path, after: Path) -> list[str]:
    return [str(found) for found in differences(digest_folder(before), digest_folder(after))]


def test_an_output_in_another_folder_is_the_same(before: Path, after: Path) -> None:
    assert told(before, after) == []


def test_a_path_beside_the_folder_is_no_change_where_the_place_is_named(
    before: Path, after: Path
) -> None:
    for folder in (before, after):
        rewrite(folder, Cache=f"{folder}/cache")
    found = [digest_folder(folder / "out", place=folder) for folder in (before, after)]
    assert differences(*found) == []


def test_a_changed_cell_is_found_and_its_column_named(before: Path, after: Path) -> None:
    path = after / METRICS
    path.write_text(path.read_text().replace("0.75", "0.7500001"))
    assert told(before, after) == [f"changed  {METRICS}: auroc"]


def test_columns_that_are_gone_or_new_or_have_a_blank_are_named(before: Path, after: Path) -> None:
    (after / METRICS).write_text("model\tauroc low\tp\nfmmtc\t0.4\t1\nsvm\tn/a\t1\n")
    assert told(before, after) == [f"changed  {METRICS}: auroc_low, auroc (gone), p (new)"]


def test_bytes_of_a_table_count_where_no_column_differs(before: Path, after: Path) -> None:
    path = after / METRICS
    path.write_text(path.read_text().rstrip("\n"))
    assert told(before, after) == [f"changed  {METRICS}"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("auroc", 0.7500000000000001),
        ("auroc", "0.75"),
        ("auroc_low", 0.5),
        ("verdict", "evidence of prediction"),
        ("Notes", ["One sentence."]),
        ("Description", ""),
        ("Source", "file:///elsewhere"),
        ("GeneratedBy", [{"Name": "another", "Version": "0.1.0"}]),
    ],
)
def test_a_changed_value_of_json_is_found_and_its_key_named(
    before: Path, after: Path, key: str, value: object
) -> None:
    rewrite(after, **{key: value})
    assert told(before, after) == [f"changed  {SIDECAR}: {key}"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Date", "made on 2027-05-06T07:08:09+02:00"),
        ("Run", RUNS[1]),
        ("Description", "AUROC, in plain words."),
        ("Notes", ["Other words.", "Of the same number."]),
        ("GeneratedBy", [{"Name": "fmmtc_bidsapp", "Version": "0.2.0"}]),
    ],
)
def test_a_date_a_run_id_a_sentence_or_a_version_is_no_change(
    before: Path, after: Path, key: str, value: object
) -> None:
    rewrite(after, **{key: value})
    assert told(before, after) == []


def test_the_run_id_in_a_name_and_the_content_of_pages_and_bookkeeping_are_no_change(
    before: Path, after: Path
) -> None:
    (after / f"out/log/{RUNS[0]}").rename(after / f"out/log/{RUNS[1]}")
    (after / f"out/log/{RUNS[1]}/plan.toml").write_text('work_dir = "/there"')
    (after / "out/report.html").write_text("<p>Good evening</p>")
    (after / "out/logs/finished/step.json").write_text('{"inputs": {"/there": [3, 4]}}')
    assert told(before, after) == []


def test_a_second_run_is_a_new_file(before: Path, after: Path) -> None:
    (after / f"out/log/{RUNS[1]}").mkdir()
    (after / f"out/log/{RUNS[1]}/plan.toml").write_text("")
    assert told(before, after) == ["new      out/log/RUN-2/plan.toml"]


def test_a_missing_and_a_renamed_file_are_found(before: Path, after: Path) -> None:
    (after / METRICS).unlink()
    (after / "out/report.html").rename(after / "out/page.html")
    assert told(before, after) == [
        f"missing  {METRICS}",
        "new      out/page.html",
        "missing  out/report.html",
    ]


def test_the_order_of_keys_is_no_change(before: Path, after: Path) -> None:
    path = after / SIDECAR
    values = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(values.items())), indent=2))
    assert told(before, after) == []


def test_one_changed_weight_is_found(before: Path, after: Path) -> None:
    weights = np.array([0.0, 1.0, np.nextafter(2.0, 3.0)])
    save_file({"weights": weights}, after / "out/models/model.safetensors")
    assert told(before, after) == ["changed  out/models/model.safetensors"]


def test_another_salt_is_no_change_but_another_number_of_people_is(
    before: Path, after: Path
) -> None:
    path = after / "out/models/people.json"
    path.write_text(json.dumps({"people": {"salt": "gh", "labels": ["ij", "kl"]}, "n": 2}))
    assert told(before, after) == []
    path.write_text(json.dumps({"people": {"salt": "gh", "labels": ["ij"]}, "n": 2}))
    assert told(before, after) == ["changed  out/models/people.json: people"]


def test_another_library_or_processor_is_named() -> None:
    recorded = {"torch": "1", "numpy": "2", "processor": "a"}
    assert unlike(recorded, dict(recorded)) == []
    assert unlike(recorded, {"torch": "2", "numpy": "2"}) == [
        "processor: recorded a, here nothing",
        "torch: recorded 1, here 2",
    ]


def test_on_another_machine_nothing_is_run_and_the_code_is_69(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digests, out = tmp_path / "digests.json", tmp_path / "out"
    digests.write_text(json.dumps({"machine": {**machine(), "torch": "0.1"}, "files": {}}))
    assert compare(digests, out, None, None) == NOT_COMPARABLE
    assert "torch: recorded 0.1, here" in capsys.readouterr().out
    assert not out.exists()


def test_without_a_record_nothing_is_run_and_the_code_is_69(tmp_path: Path) -> None:
    assert compare(tmp_path / "digests.json", tmp_path / "out", None, None) == NOT_COMPARABLE
    assert not (tmp_path / "out").exists()


def test_a_record_of_the_real_trial_is_not_overwritten_without_it(tmp_path: Path) -> None:
    digests = tmp_path / "digests.json"
    digests.write_text('{"files": {"trial/out/a.tsv": "0"}}')
    assert record(digests, tmp_path / "out", None, None) == NOT_COMPARABLE
    assert "trial/out/a.tsv" in digests.read_text()
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SystemExit, match="holds other files"):
        record(tmp_path / "digests.json", tmp_path, None, None)
    assert (tmp_path / "thesis.tex").exists()
