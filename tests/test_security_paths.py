"""Paths from tables, labels and sidecars: none leaves the dataset, and no log holds a secret."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from parcel_study import group_command, write_parcel_study
from participant.tiny_study import write_study

from fmmtc_bidsapp.bidsio.files.names import (
    GroupFiles,
    build_name,
    linked_file,
    parse_name,
    sheet_path,
)
from fmmtc_bidsapp.bidsio.tables.tables import read_rows
from fmmtc_bidsapp.cli.main import main
from fmmtc_bidsapp.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = ("../../outside", "..", "a/b", "/etc/passwd", "a\\b", "a\0b", "~")


@pytest.mark.parametrize("label", OUTSIDE)
def test_no_label_can_carry_a_file_name_out_of_its_folder(label: str) -> None:
    with pytest.raises(InputError):
        build_name({"sub": label}, "bold", ".nii.gz")
    with pytest.raises(InputError):
        parse_name(f"sub-{label}_bold.nii.gz".replace("/", "\\"))


@pytest.mark.parametrize(
    "uri", ["bids::../../secret.tsv", "bids::/etc/passwd", "/etc/passwd", "bids::sub-01/../../a"]
)
def test_a_link_in_a_sidecar_cannot_leave_the_dataset(tmp_path: Path, uri: str) -> None:
    with pytest.raises(InputError, match="outside the dataset"):
        linked_file(uri, tmp_path)


def test_a_link_within_the_dataset_is_followed(tmp_path: Path) -> None:
    assert linked_file("bids::sub-01/func/a.tsv", tmp_path) == tmp_path / "sub-01/func/a.tsv"


def _tree(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if not path.is_relative_to(folder / "out"))


NO_RUN = "has no BOLD run"
NO_NAME = "it is part of file names: use letters and digits"


def _ends(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main([*words, "--dry-run"])
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--participant-label", "../../../outside"], 65, NO_RUN),
        (["--session-id", "../../outside"], 65, NO_RUN),
        (["--task-id", "../../outside"], 65, NO_RUN),
        (["--run-id", "../../outside"], 65, NO_RUN),
        (["--bids-filter-file", "filter.json"], 65, NO_RUN),
        (["--desc", "../../outside"], 2, NO_NAME),
        # The study itself is sound, so what ends the others is what they ask for.
        (["--participant-label", "01", "--task-id", "rest", "--desc", "inside"], 0, ""),
    ],
)
def test_what_is_asked_for_cannot_lead_out_of_the_output(
    tmp_path: Path,
    flags: list[str],
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = write_study(tmp_path / "deep" / "er")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "filter.json").write_text('{"bold": {"subject": "../../../outside"}}')
    before = _tree(tmp_path)
    out = tmp_path / "out"
    fixed = ["participant", "-w", str(out / "work"), "--atlas", str(study.atlas)]
    found, told = _ends([str(study.root), str(out), *fixed, *flags], capsys)
    assert (found, message in told) == (code, True), told
    assert _tree(tmp_path) == before


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--label", "../../outside"], 2, NO_NAME),
        (["--desc", "../../outside"], 2, "No file has desc ../../outside"),
        (["--label", "inside"], 0, ""),
    ],
)
def test_the_name_of_a_result_cannot_lead_out_of_the_output(
    tmp_path: Path, flags: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = write_parcel_study(tmp_path / "deep" / "er"), tmp_path / "out"
    before = _tree(tmp_path)
    words = group_command(study, out, out / "work", *flags)
    found, told = _ends(words[words.index(str(study)) :], capsys)
    assert (found, message in told) == (code, True), told
    assert _tree(tmp_path) == before


def test_a_table_that_names_a_path_names_a_participant_that_nobody_is(tmp_path: Path) -> None:
    table = tmp_path / "participants.tsv"
    table.write_text("participant_id\ty\nsub-../../outside\t1\n")
    (row,) = read_rows(table, needed=["y"])
    # A text to compare with names of files, which hold none.
    assert row["participant_id"] == "sub-../../outside"
    with pytest.raises(InputError):
        build_name({"sub": row["participant_id"].removeprefix("sub-")}, "bold", ".tsv")


@pytest.mark.parametrize("key", ["sub-../../outside", "../outside", "/etc/outside", "sub-1/../x"])
def test_a_table_of_predictions_cannot_put_a_sheet_elsewhere(tmp_path: Path, key: str) -> None:
    with pytest.raises(InputError, match="which is not a file name"):
        sheet_path(GroupFiles(tmp_path, "new"), key)
    assert sheet_path(GroupFiles(tmp_path, "new"), "sub-01_ses-1").is_relative_to(tmp_path)


PACKAGE = ROOT / "fmmtc_bidsapp"


def _calls() -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield file, function and named arguments of every call in the program."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                named = {str(each.arg): ast.unparse(each.value) for each in node.keywords}
                yield path.name, ast.unparse(node.func), named


def test_nothing_in_the_program_unpickles_evaluates_or_starts_a_shell() -> None:
    builtins = {"eval", "exec", "compile", "__import__"}
    methods = {
        *("loadpkl", "read_pickle", "read_hdf", "unsafe_load", "full_load", "system", "popen"),
        *("unpack_archive", "extractall", "import_module", "from_string", "from_pretrained"),
        *("hf_hub_download", "load_state_dict_from_url"),
    }
    modules = {"pickle", "dill", "joblib", "cloudpickle", "marshal", "shelve", "tarfile"}
    found = {
        (path, call)
        for path, call, _ in _calls()
        if call in builtins
        or call.rpartition(".")[2] in methods
        or call.rpartition(".")[0] in modules
    }
    assert found == {
        # Our own: it reads tensors alone, from a folder.
        ("kinds.py", "BrainLM.from_pretrained"),
        # Functions of this package, whose names stand in its own graphs.
        ("task.py", "import_module"),
    }


HOW_TO_READ = {
    "torch.load": ("weights_only", ("True",)),
    # None is numpy's own default.
    "np.load": ("allow_pickle", ("False", None)),
    "yaml.load": ("Loader", ("_Loader",)),
    "subprocess.run": ("shell", (None,)),
}


def test_every_reader_that_could_execute_is_told_not_to() -> None:
    found = [each for each in _calls() if each[1] in HOW_TO_READ]
    assert {call for _, call, _ in found} == set(HOW_TO_READ)
    for path, call, named in found:
        name, safe = HOW_TO_READ[call]
        assert named.get(name) in safe, (path, call)


def test_variables_are_read_by_name_and_never_as_a_whole() -> None:
    """The environment may hold passwords."""
    by_name = {"get", "setdefault"}
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        for node in parents:
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "os.environ":
                parent = parents[node]
                named = isinstance(parent, ast.Attribute) and parent.attr in by_name
                assert named or isinstance(parent, ast.Subscript), path
