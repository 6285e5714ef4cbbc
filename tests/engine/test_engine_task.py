"""Tasks: what decides their hash, what their functions are given, and what becomes of a result."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe
from numpy.typing import NDArray

from fmmtc_bidsapp.digest import digest_of
from fmmtc_bidsapp.engine import Task, load_record, save_record, task
from fmmtc_bidsapp.engine.codec import decode, encode
from fmmtc_bidsapp.engine.task import module_of
from fmmtc_bidsapp.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Inner:
    pairs: tuple[tuple[str, ...], ...] = ()
    rate: float | None = None


@dataclass(frozen=True, eq=False)
class Record:
    values: Floats
    inner: Inner
    missing: Floats | None = None
    design: Mapping[str, Floats] = field(default_factory=dict)
    notes: Sequence[str] = ()
    where: Path = Path("x")
    mixed: tuple[str, int] = ("a", 1)
    about: Mapping[str, Any] = field(default_factory=dict)


def a_record() -> Record:
    # Columns in an order of their own, with names that no file may have.
    design = {"z/../up": np.arange(3.0), "a": np.ones(3), "about": np.zeros(0)}
    return Record(
        np.array([[np.nan, np.inf], [1 / 3, -0.0]]),
        Inner((("b", "a"), ("c",)), 0.1),
        design=design,
        notes=("first", "second"),
        about={"list": [1, [2]], "flag": True, "none": None},
    )


def test_a_record_comes_back_as_it_was_written_with_mappings_in_their_order(tmp_path: Path) -> None:
    record = a_record()
    read = load_record(save_record(tmp_path / "record.npz", record), Record)
    np.testing.assert_array_equal(read.values, record.values)
    assert np.signbit(read.values[1, 1])
    assert (read.inner, read.missing, read.notes) == (record.inner, None, record.notes)
    assert (read.where, read.mixed, read.about) == (record.where, record.mixed, record.about)
    assert list(read.design) == list(record.design)
    for name, values in record.design.items():
        np.testing.assert_array_equal(read.design[name], values)


def test_the_same_record_is_the_same_bytes(tmp_path: Path) -> None:
    first, again = (Path(save_record(tmp_path / f"{i}.npz", a_record())) for i in range(2))
    assert first.read_bytes() == again.read_bytes()


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError, match="set"):
        encode({1, 2})
    assert decode(tuple[Inner, ...], encode((Inner(),))) == (Inner(),)


def test_an_array_without_a_file_is_written_out_whole() -> None:
    rows = np.arange(2000, dtype=np.int32)
    content = json.loads(json.dumps(encode({"rows": rows})))
    assert content["rows"]["array"] == rows.tolist()
    read = decode(dict[str, Floats], content)["rows"]
    np.testing.assert_array_equal(read, rows)
    assert read.dtype == np.int32


def total(
    record: Record,
    matrix: Floats,
    table: Path,
    more: Sequence[Path],
    place: Path,
    *,
    inner: Inner,
    factor: float = 1.0,
    absent: Path | None = None,
) -> Floats:
    assert (absent, inner.pairs, place.name) == (None, (("p",),), "place")
    n = len(table.read_text()) + sum(len(each.read_text()) for each in more)
    return factor * (np.nansum(record.values[1]) + matrix + n)


def listed(folder: Path, n: int) -> list[Path]:
    paths = [folder / f"{i}.txt" for i in range(n)]
    for each in paths:
        each.write_text("x")
    return paths


def doubled(record: Record) -> Record:
    return Record(2 * record.values, record.inner)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    for name in ("table", "one", "two", "place"):
        (tmp_path / name).write_text(name)
    np.save(tmp_path / "matrix.npy", np.array([10.0]))
    save_record(tmp_path / "record.npz", a_record())
    return {
        "record": tmp_path / "record.npz",
        "matrix": tmp_path / "matrix.npy",
        "table": tmp_path / "table",
        "more": [tmp_path / "one", tmp_path / "two"],
        "absent": None,
    }


def summed(files: dict[str, Any], **changes: Any) -> Task:
    options = {"inner": Inner((("p",),)), **changes.pop("options", {})}
    places = {"place": files["table"].with_name("place")}
    return Task(total, options=options, files=files, places=places, **changes)


def hash_of(interface: Task) -> str:
    return str(interface.inputs.get_hashval(hash_method="content")[1])


def test_arguments_are_read_by_their_types_and_an_array_is_written(
    files: dict[str, Any], tmp_path: Path
) -> None:
    interface = summed(files, options={"factor": 0.5})
    outputs = interface.run(cwd=str(tmp_path)).outputs
    assert outputs.file == str(tmp_path / "total.npy")
    assert outputs.files == [outputs.file]
    assert np.load(outputs.file) == pytest.approx([0.5 * (1 / 3 + 10 + 5 + 6)])


def test_files_of_its_own_are_named_and_there_may_be_none(tmp_path: Path) -> None:
    outputs = Task(listed, options={"n": 2}).run(cwd=str(tmp_path)).outputs
    assert outputs.files == [str(tmp_path / "0.txt"), str(tmp_path / "1.txt")]
    assert Task(listed, options={"n": 0}).run(cwd=str(tmp_path)).outputs.files == []


@pytest.mark.parametrize("changed", ["table", "one", "matrix.npy"])
def test_files_are_known_by_their_content(files: dict[str, Any], tmp_path: Path, changed) -> None:
    before = hash_of(summed(files))
    path = tmp_path / changed
    content = path.read_bytes()
    path.write_bytes(content + b"more")
    assert hash_of(summed(files)) != before
    path.write_bytes(content)
    assert hash_of(summed(files)) == before


def test_of_a_place_only_the_name_counts_and_the_stamp_tells_its_states_apart(
    files: dict[str, Any], tmp_path: Path
) -> None:
    before = hash_of(summed(files, stamp="1"))
    (tmp_path / "place").write_text("another content")
    assert hash_of(summed(files, stamp="1")) == before
    assert hash_of(summed(files, stamp="2")) != before


def test_what_lies_elsewhere_decides_nothing(files: dict[str, Any], tmp_path: Path) -> None:
    record = {"record": files["record"]}
    first, other = (
        Task(doubled, files=record, elsewhere={"weights": tmp_path / name}) for name in "ab"
    )
    assert hash_of(first) == hash_of(other)


def test_options_functions_and_records_count_to_the_last_digit(files: dict[str, Any]) -> None:
    hashes = [
        hash_of(summed(files, options={"factor": factor})) for factor in (1.0, 1.0 + 2**-52, 2.0)
    ]
    assert len(set(hashes)) == 3
    record = {"record": files["record"]}
    assert hash_of(Task(doubled, files=record)) != hash_of(Task(listed, files=record))


@pytest.mark.parametrize("through", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_worker_finds_the_hash_that_was_found_here(files: dict[str, Any], through: Any) -> None:
    interface = summed(files, upstream=["given"], stamp="1")
    interface.inputs.given = str(files["table"])
    assert hash_of(through(interface)) == hash_of(interface)


def test_a_worker_is_told_the_module_of_the_function_not_of_the_interface() -> None:
    assert module_of(Task(digest_of)) == "fmmtc_bidsapp.digest"
    assert module_of(IdentityInterface(fields=["x"])) == "nipype.interfaces.utility.base"


def test_a_file_that_is_gone_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.npz no longer exists"):
        Task(doubled, files={"record": tmp_path / "gone.npz"})


def test_in_a_graph_a_record_goes_from_one_task_to_the_next_and_is_computed_once(
    files: dict[str, Any], tmp_path: Path
) -> None:
    def run() -> dict[str, Path]:
        first = task("first", Task(doubled, files={"record": files["record"]}), memory_gb=0.1)
        second = task("second", Task(doubled, upstream=["record"]), memory_gb=0.1)
        workflow = pe.Workflow(name="graph", base_dir=str(tmp_path))
        workflow.config["execution"] = {"hash_method": "content", "create_report": "false"}
        workflow.connect(first, "file", second, "record")
        workflow.run()
        return {name: tmp_path / "graph" / name / "doubled.npz" for name in ("first", "second")}

    found = run()
    expected = 4 * a_record().values
    np.testing.assert_array_equal(load_record(found["second"], Record).values, expected)
    dates = {name: path.stat().st_mtime_ns for name, path in found.items()}
    assert {name: path.stat().st_mtime_ns for name, path in run().items()} == dates
    save_record(files["record"], doubled(a_record()))
    again = run()
    np.testing.assert_array_equal(load_record(again["second"], Record).values, 2 * expected)
