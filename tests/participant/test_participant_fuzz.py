"""Damaged headers, tables and settings end with a documented exit code, or with right numbers.

Each case damages one input of a tiny study and takes it through the code of the command, in this
process: the start of the level, then the interfaces of the nodes, wired as in the graph. What
comes out is compared with what nibabel and pandas read from the same damaged files.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import json
import math
import resource
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import damage as d
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from tiny_study import TinyStudy, run_all, write_study

from fmmtc_bidsapp.bidsio.atlases.atlas import resolve_atlas
from fmmtc_bidsapp.bidsio.files.names import RunFiles
from fmmtc_bidsapp.bidsio.layout import find_runs as find
from fmmtc_bidsapp.cli.main import run_guarded
from fmmtc_bidsapp.options import ConnectivityOptions, DenoiseOptions, ParcelOptions
from fmmtc_bidsapp.participant.admission import begin
from fmmtc_bidsapp.participant.labels import write_labels
from fmmtc_bidsapp.participant.run import join_output
from fmmtc_bidsapp.participant.workflow import run_nodes
from fmmtc_bidsapp.plan import ParticipantPlan, Resources, Selection
from fmmtc_bidsapp.visible import visible

# nibabel says aloud what it makes of odd headers.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning:nibabel")

Floats = NDArray[np.float64]

DONE, WRONG_USE, BAD_INPUT = 0, 2, 65
LONGEST_S = 10.0
MEMORY_BYTES = 2**29
"""What a case may take beyond what the process has: the study itself is 100 kB."""
LONGEST_MESSAGE = 3000


@dataclass(frozen=True)
class Family:
    """Cases of one kind."""

    damage: d.Damage
    roles: Sequence[str]
    n_cases: int
    codes: frozenset[int] = frozenset({DONE, BAD_INPUT})
    """How its cases may end."""
    studies: Sequence[str] = ("float", "scaled")


IMAGES = ("bold", "mask", "atlas")
ANY_CODE = frozenset({DONE, WRONG_USE, BAD_INPUT})
DENSE = ("dense", "atlas on grayordinates")
NO_DATASET = frozenset({DONE, WRONG_USE})
# An atlas that is empty, or was not fetched, is a wrong flag.
FAMILIES = {
    "a field of the image's header": Family(d.fields, ["bold"], 40),
    "fields of the image's header": Family(d.all_of(d.fields, 4), ["bold"], 25),
    "a field of the mask's header": Family(d.fields, ["mask"], 30),
    "fields of the mask's header": Family(d.all_of(d.fields, 4), ["mask"], 15),
    "a field of the atlas's header": Family(d.fields, ["atlas"], 30),
    "fields of the atlas's header": Family(d.all_of(d.fields, 4), ["atlas"], 15),
    "sides of an image": Family(d.sides, IMAGES, 15, frozenset({BAD_INPUT})),
    "bytes of a header": Family(d.bytes_of(0, 352), IMAGES, 30),
    "bytes of voxels": Family(d.bytes_of(352, None, most=20), IMAGES, 15),
    "an extension": Family(d.extension, IMAGES, 25),
    "bits of a gzip stream": Family(d.gzip_bytes, IMAGES, 50),
    "a cut image": Family(d.cut, IMAGES, 30, frozenset({BAD_INPUT})),
    "something else for an image": Family(d.replaced, IMAGES, 35, ANY_CODE),
    "voxels without numbers": Family(
        d.voxels, ["bold"], 20, frozenset({DONE}), ["float", "double"]
    ),
    "cells of the confounds": Family(d.cells, ["confounds"], 45),
    "columns of the confounds": Family(d.columns, ["confounds"], 30),
    "rows of the confounds": Family(d.rows, ["confounds"], 25),
    "spelling of the confounds": Family(d.table_text, ["confounds"], 35),
    "values of the sidecar": Family(
        d.json_values("RepetitionTime", "SamplingFrequency", "StartTime"), ["sidecar"], 40
    ),
    "values of the component masks": Family(
        d.json_values("a_comp_cor_00"), ["masks of components"], 10, frozenset({DONE, BAD_INPUT})
    ),
    "values of the atlas's sidecar": Family(
        d.json_values("Name", "Description", "License", "Source", "Space"),
        ["atlas sidecar"],
        35,
    ),
    "values of the dataset's description": Family(
        d.json_values("GeneratedBy", "PipelineDescription"), ["description"], 30, NO_DATASET
    ),
    "spelling of JSON": Family(
        d.json_text,
        ["sidecar", "masks of components", "atlas sidecar", "description"],
        45,
        ANY_CODE,
    ),
    "the atlas's table": Family(d.atlas_table, ["atlas table"], 35),
    "columns of the atlas's table": Family(d.columns, ["atlas table"], 12),
    "rows of the atlas's table": Family(d.rows, ["atlas table"], 15),
    "spelling of the atlas's table": Family(d.table_text, ["atlas table"], 25),
    "a filter file": Family(d.filter_file, ["filter"], 60, ANY_CODE),
    "a strategy file": Family(d.strategy_file, ["strategy"], 60, ANY_CODE),
    "bytes of a CIFTI header": Family(d.bytes_of(0, 560), DENSE, 30, studies=["dense"]),
    "bytes of CIFTI's axes": Family(d.bytes_of(560, 3000), DENSE, 40, studies=["dense"]),
    "fields of a CIFTI header": Family(d.fields, DENSE, 25, studies=["dense"]),
    "bytes anywhere in a CIFTI file": Family(d.bytes_of(0, None), DENSE, 15, studies=["dense"]),
    "a cut CIFTI file": Family(d.cut, DENSE, 20, frozenset({BAD_INPUT}), ["dense"]),
    "something else for a CIFTI file": Family(
        d.replaced, DENSE, 25, frozenset({WRONG_USE, BAD_INPUT}), ["dense"]
    ),
    "confounds of a CIFTI series": Family(d.cells, ["confounds"], 10, studies=["dense"]),
}

DENOISING = (
    *(DenoiseOptions(),) * 3,
    DenoiseOptions(denoise_strategy="none"),
    DenoiseOptions(fd_threshold=0.3),
    DenoiseOptions(denoise_strategy="simpleGSR", high_pass=0.01),
)
TARGETS = ("data", "data", "data", "atlas")
MEASURES = ("correlation", "correlation", "partial-correlation")


@dataclass
class Case:
    """One damaged study on its way through the level."""

    study: TinyStudy
    plan: ParticipantPlan
    what: str = ""
    written: list[RunFiles] = field(default_factory=list)
    code: int = -1
    said: str = ""

    def straight_line(self) -> int:
        """Do what the level does for every run, without pictures and reports."""
        start = begin(self.plan)
        if not start.runs:
            print(*(each.message for each in start.problems), file=sys.stderr)
            return max(each.code for each in start.problems)
        print(start.atlas.title, start.strategy.title)
        join_output(start)
        write_labels(start, start.runs)
        for run in start.runs:
            run_all(run_nodes(start, run), self.plan.resources.work_dir)
            self.written.append(start.files(run))
        return DONE

    def run(self) -> None:
        """Run it as the command would, with a bound on memory."""
        # As Python sets them up: what cannot be written is spelled out on the second one only.
        out = io.TextIOWrapper(io.BytesIO(), "utf-8", "strict")
        told = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace")
        with little_memory(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):
            self.code = run_guarded("fmmtc", self.straight_line)
        told.seek(0)
        self.said = told.read()


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """Refuse this process more memory than it has and a little more."""
    pages = Path("/proc/self/statm")
    if not pages.exists():
        yield
        return
    there = int(pages.read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (there + MEMORY_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@dataclass(frozen=True)
class Bench:
    """The undamaged studies, and the content of their files."""

    folder: Path
    studies: dict[str, TinyStudy]
    whole: dict[Path, bytes]

    def files(self, study: TinyStudy) -> dict[str, Path]:
        return study.files() | {
            "description": study.root / "dataset_description.json",
            "filter": self.folder / "filter.json",
            "strategy": self.folder / "own.yml",
        }

    def plan(self, study: TinyStudy, role: str, rng: np.random.Generator) -> ParticipantPlan:
        denoise, target, measure = (
            among[int(rng.integers(len(among)))] for among in (DENOISING, TARGETS, MEASURES)
        )
        own = DenoiseOptions(denoise_strategy=str(self.folder / "own.yml"))
        filters = self.folder / "filter.json" if role == "filter" else None
        return ParticipantPlan(
            study.root,
            self.folder / "out",
            "run",
            Resources(self.folder / "work"),
            selection=Selection(bids_filter_file=filters),
            parcel=ParcelOptions(atlas=str(study.atlas), resampling_target=target),
            denoise=own if role == "strategy" else denoise,
            connectivity=ConnectivityOptions(fc_measure=measure),
        )

    def case(self, family: Family, seed: int) -> Case:
        """Damage a study and run it, then make it whole again."""
        rng = np.random.default_rng(seed)
        study = self.studies[family.studies[int(rng.integers(len(family.studies)))]]
        role = family.roles[int(rng.integers(len(family.roles)))]
        path = self.files(study)[role]
        case = Case(study, self.plan(study, role, rng))
        for folder in ("out", "work"):
            shutil.rmtree(self.folder / folder, ignore_errors=True)
        (self.folder / "work").mkdir()
        try:
            case.what = f"{role}: {family.damage(rng, path)}"
            case.run()
            if case.code == DONE:
                require_right(case)
        finally:
            path.write_bytes(self.whole[path])
        return case


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("fuzz")
    studies = {
        "float": write_study(folder / "float"),
        "scaled": write_study(folder / "scaled", kind="scaled"),
        "double": write_study(folder / "double", kind="double"),
        "dense": write_study(folder / "dense", dense=True),
    }
    (folder / "filter.json").write_text('{"bold": {"task": "rest"}}')
    (folder / "own.yml").write_text("name: own\nconfounds:\n  motion:\n    columns: [csf]\n")
    found = [path for path in folder.rglob("*") if path.is_file()]
    return Bench(folder, studies, {path: path.read_bytes() for path in found})


@pytest.fixture(autouse=True)
def _quick_start(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    """Ask pybids once for what lies in a study: no case adds a file or takes one away."""
    monkeypatch.setattr(find, "index_run_files", _index)
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(bench.folder / "no templates"))
    monkeypatch.setenv("TEMPLATEFLOW_AUTOUPDATE", "off")


_index_run_files = find.index_run_files


@functools.cache
def _indexed(root: Path) -> list[Path]:
    return _index_run_files(root, (), None)


def _index(root: Path, participant_ids: Sequence[str], database_dir: Path | None) -> list[Path]:
    assert database_dir is None
    asked = [path for path in _indexed(root) if path.parts[-3] in participant_ids]
    return asked if participant_ids else _indexed(root)


def test_there_are_enough_cases() -> None:
    assert sum(family.n_cases for family in FAMILIES.values()) >= 500


@pytest.mark.parametrize("name", FAMILIES)
def test_damage_leaves_no_file_as_it_was(bench: Bench, name: str) -> None:
    family = FAMILIES[name]
    changed = 0
    for seed in range(20):
        path = bench.files(bench.studies[family.studies[0]])[family.roles[0]]
        family.damage(np.random.default_rng(seed), path)
        changed += path.read_bytes() != bench.whole[path]
        path.write_bytes(bench.whole[path])
    # A number may be replaced by itself.
    assert changed >= 15


@pytest.mark.parametrize("name", ["float", "scaled", "dense"])
def test_an_undamaged_study_is_done(bench: Bench, name: str) -> None:
    untouched = Family(lambda *_: "nothing", ["confounds", "strategy", "filter"], 1, studies=[name])
    for seed in range(12):
        case = bench.case(untouched, seed)
        assert case.code == DONE, case.said


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("part", ["a sixth", pytest.param("the rest", marks=pytest.mark.slow)])
def test_damage_ends_in_a_documented_code_or_in_right_numbers(
    bench: Bench, name: str, part: str
) -> None:
    family, faults = FAMILIES[name], []
    sixth = -(-family.n_cases // 6)
    numbers_of_cases = range(sixth) if part == "a sixth" else range(sixth, family.n_cases)
    for number in numbers_of_cases:
        seed = 1000 * zlib.crc32(name.encode()) + number
        began, wrong = time.monotonic(), ""
        try:
            case = bench.case(family, seed)
        except AssertionError as error:
            wrong = f"wrong numbers: {error}"
        else:
            wrong = judge(case, family)
        if time.monotonic() - began > LONGEST_S:
            wrong += f" took {time.monotonic() - began:.0f} s"
        if wrong:
            faults.append(f"seed {seed}: {wrong}")
    told = f"{len(faults)} of {len(numbers_of_cases)}, {name}\n"
    assert not faults, told + "\n".join(faults)


def judge(case: Case, family: Family) -> str:
    """Say what is wrong with how a case ended; nothing if it ended as it may."""
    if case.code not in family.codes:
        return f"{case.what} ended with {case.code}: {case.said[-1500:]}"
    if "Traceback" in case.said:
        return f"{case.what} ended with {case.code}, but said {case.said[-1500:]}"
    if case.code != DONE and not case.said.strip():
        return f"{case.what} ended with {case.code} and without a word"
    if len(case.said) > LONGEST_MESSAGE:
        return f"{case.what} was told in {len(case.said)} characters: {case.said[:300]}"
    return ""


def require_right(case: Case) -> None:
    """Compare what was written with what others read from the same files."""
    for files in case.written:
        try:
            _require_right(case, files)
        except Exception as error:
            options = f"{case.plan.denoise}, {case.plan.parcel}, {case.plan.connectivity}"
            raise AssertionError(f"{case.what}, {options}: {error!r}") from error


def _require_right(case: Case, files: RunFiles) -> None:
    # What would act on a terminal is spelled out in every file that we write.
    names = tuple(map(visible, resolve_atlas(case.plan.parcel.atlas).names))
    uncleaned, cleaned = numbers(files.uncleaned), numbers(files.timeseries)
    assert uncleaned.names == cleaned.names == names
    matrix = numbers(files.relmat, rows_named=True)
    assert matrix.names == matrix.rows == names
    np.testing.assert_array_equal(matrix.values, matrix.values.T)
    assert (np.abs(matrix.values[~np.isnan(matrix.values)]) <= 1).all()
    quality = pd.read_csv(files.qc, sep="\t", keep_default_na=False)
    assert len(quality) == 1
    assert not {"nan", "inf", "-inf", ""} & set(map(str, quality.iloc[0])), quality.iloc[0]
    for path in files.there():
        if path.suffix == ".json":
            json.loads(path.read_text(), parse_constant=_no_number)
    _require_means(case, files, uncleaned)
    if files.design.is_file():
        _require_confounds(case, files)


def _no_number(text: str) -> NoReturn:
    raise AssertionError(f"{text} in JSON")


@dataclass(frozen=True, eq=False)
class Table:
    """A written table of numbers."""

    names: tuple[str, ...]
    rows: tuple[str, ...]
    values: Floats

    def column(self, name: str) -> Floats:
        found: Floats = self.values[:, self.names.index(name)]
        return found


def numbers(path: Path, *, rows_named: bool = False) -> Table:
    """Read a table that holds nothing but finite numbers and n/a."""
    header, *rows = [line.split("\t") for line in path.read_text().split("\n")[:-1]]
    first = int(rows_named)
    cells = [[math.nan if cell == "n/a" else float(cell) for cell in row[first:]] for row in rows]
    odd = {cell for row in rows for cell in row[first:]} & {"nan", "inf", "-inf", ""}
    assert not odd, f"{odd} in {path.name}"
    names = tuple(row[0] for row in rows) if rows_named else ()
    return Table(tuple(header[first:]), names, np.array(cells))


def _require_means(case: Case, files: RunFiles, written: Table) -> None:
    index = resolve_atlas(case.plan.parcel.atlas).index
    expected = (dense_means if files.den else volume_means)(case.study, index)
    if expected is None:
        return
    scale = np.nanmax(np.abs(expected), initial=0.0)
    np.testing.assert_allclose(written.values, expected, rtol=1e-7, atol=1e-9 * scale)


def volume_means(study: TinyStudy, index: NDArray[np.int64]) -> Floats | None:
    """Average what nibabel reads; None where the files do not lie on one grid."""
    files = study.files()
    image, mask, atlas = (nib.load(files[role]) for role in IMAGES)
    grids = [(each.shape[:3], np.round(each.affine, 4).tolist()) for each in (image, mask, atlas)]
    if grids.count(grids[0]) != len(grids):
        return None
    values = np.asarray(image.dataobj, dtype=np.float64).reshape(-1, image.shape[3]).T
    stored = np.asarray(image.dataobj.get_unscaled()).reshape(-1, image.shape[3]).T
    labels = np.asarray(atlas.dataobj).reshape(-1)
    inside = np.asarray(mask.dataobj).reshape(-1) > 0.5
    return averages(values, stored, np.where(inside, labels, 0), labels, index)


def dense_means(study: TinyStudy, index: NDArray[np.int64]) -> Floats | None:
    """Average what nibabel reads; None where the grayordinates are not the same ones."""
    image, atlas = (
        nib.load(study.files()["dense"]),
        nib.load(study.files()["atlas on grayordinates"]),
    )
    if image.header.get_axis(1) != atlas.header.get_axis(1):
        return None
    values, labels = np.asarray(image.dataobj, dtype=np.float64), np.asarray(atlas.dataobj)[0]
    return averages(values, values, labels, labels, index)


def averages(
    values: Floats,
    stored: NDArray[Any],
    inside: NDArray[Any],
    labels: NDArray[Any],
    index: NDArray[np.int64],
) -> Floats:
    """Average (time, voxel) over every label; NaN where less than half of it varies."""
    with np.errstate(all="ignore"):
        change = np.abs(stored.astype(np.float64) - stored[0])
        used = (change <= 1e100).all(axis=0) & (change != 0).any(axis=0)
    expected = np.full((len(values), len(index)), np.nan)
    for column, label in enumerate(index):
        chosen = used & (inside == label)
        if chosen.sum() >= 0.5 * max((labels == label).sum(), 1):
            expected[:, column] = values[:, chosen].mean(axis=1)
    return expected


def _require_confounds(case: Case, files: RunFiles) -> None:
    """Compare the regressors with the table: what it lacks is in no design, and nothing is 0."""
    path = case.study.files()["confounds"]
    table = pd.read_csv(
        path, sep="\t", encoding="utf-8-sig", skip_blank_lines=False, na_values=[""]
    )
    design = numbers(files.design)
    dropped = pd.read_csv(files.outliers, sep="\t")["dummy"].to_numpy(bool)
    for name in design.names:
        values = design.column(name)
        assert np.isfinite(values[~dropped]).all(), f"{name} of the design has holes"
        if name in table:
            compared = ~dropped & (np.arange(len(values)) > 0)
            stated = table[name][compared].astype(float)
            np.testing.assert_allclose(values[compared], stated, rtol=1e-12)
    fd_mm = numbers(files.outliers).column("fd_mm")
    if "framewise_displacement" in table:
        # What is no number is unknown.
        stated = pd.to_numeric(table["framewise_displacement"], errors="coerce")
        known = stated.where(stated.abs() <= 1e100)
        np.testing.assert_allclose(fd_mm, known, rtol=1e-12)


def _field(name: str, value: Any, place: Any = ()) -> Callable[[bytes], bytes]:
    """Set a field of a compressed NIfTI image."""

    def change(content: bytes) -> bytes:
        whole = gzip.decompress(content)
        header = np.frombuffer(whole, dtype=nib.Nifti1Header.template_dtype, count=1).copy()
        header[name][0, ...][place] = value
        return gzip.compress(header.tobytes() + whole[header.nbytes :], 1)

    return change


def _huge_extension(content: bytes) -> bytes:
    whole = bytearray(gzip.decompress(content))
    whole[108:112] = np.float32(384).tobytes()
    whole[348:384] = bytes([1, 0, 0, 0]) + np.array([2**31 - 1, 4], "<i4").tobytes() + bytes(24)
    return gzip.compress(whole, 1)


def _in_used_column(value: str) -> Callable[[bytes], bytes]:
    """Put a value into a cell of a column that the strategy takes."""

    def change(content: bytes) -> bytes:
        table = pd.read_csv(io.BytesIO(content), sep="\t", dtype=str, keep_default_na=False)
        table.loc[3, "trans_x"] = value
        return table.to_csv(sep="\t", index=False).encode()

    return change


NASTIEST: Mapping[str, tuple[str, Callable[[bytes], bytes]]] = {
    "30000 voxels a side": ("bold", _field("dim", 30000, slice(1, 4))),
    "data begin at NaN": ("bold", _field("vox_offset", np.nan)),
    "data begin at infinity": ("mask", _field("vox_offset", np.inf)),
    "an extension of 2 GB": ("bold", _huge_extension),
    "no affine": ("bold", _field("srow_x", np.nan)),
    "complex numbers": ("bold", _field("datatype", 1792)),
    "one volume": ("bold", _field("dim", 1, 4)),
    "a flipped bit": ("bold", lambda x: x[:9000] + bytes([x[9000] ^ 16]) + x[9001:]),
    "cut": ("bold", lambda x: x[: len(x) // 2]),
    "rubbish behind": ("bold", lambda x: x + b"rubbish"),
    "empty": ("bold", lambda _: b""),
    "a pointer": ("mask", lambda _: b"/annex/objects/MD5E-s9--0.nii.gz\n"),
    "a mask elsewhere": ("mask", _field("srow_x", 300.0, 3)),
    "a mask of text": ("mask", lambda _: b"not an image"),
    "text in a cell": ("confounds", _in_used_column("zero")),
    "infinity in a cell": ("confounds", _in_used_column("1e400")),
    "latin-1": ("confounds", lambda x: x.replace(b"csf", b"\xe9")),
    "a row short": ("confounds", lambda x: x[: x.rindex(b"\n", 0, -1) + 1]),
    "commas": ("confounds", lambda x: x.replace(b"\t", b",")),
    "an endless repetition time": ("sidecar", lambda _: b'{"RepetitionTime": 1e400}'),
    "a deep sidecar": ("sidecar", lambda _: b'{"a":' * 20_000 + b"1" + b"}" * 20_000),
    "a list": ("sidecar", lambda x: b"[" + x + b"]"),
}


@pytest.mark.slow
def test_the_nastiest_stop_nobody_else(tmp_path: Path) -> None:
    bad = {f"bad{number:02}": name for number, name in enumerate(NASTIEST)}
    good = ["good1", "good2", "good3"]
    study = write_study(tmp_path, [*good, *bad])
    for participant, name in bad.items():
        role, change = NASTIEST[name]
        path = study.files(participant)[role]
        path.write_bytes(change(path.read_bytes()))
    out = tmp_path / "out"
    words = [study.root, out, "participant", "--atlas", study.atlas, "-w", tmp_path / "work"]
    done = subprocess.run(
        [sys.executable, "-m", "fmmtc_bidsapp", *map(str, words), "--nprocs", "2"],
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "Traceback" not in said
    (log,) = (out / "logs").glob("*_outcomes.tsv")
    ends = pd.read_csv(log, sep="\t", keep_default_na=False).set_index("who")
    assert sorted(ends.index) == sorted(f"sub-{each}" for each in [*good, *bad])
    for participant in good:
        assert ends["how_it_ended"][f"sub-{participant}"] == "done"
        assert f"sub-{participant}: done" in said
        assert (out / f"sub-{participant}.html").is_file()
    for participant, name in bad.items():
        how, why = ends.loc[f"sub-{participant}"]
        assert how in ("failed", "skipped"), name
        assert f"sub-{participant}: {how}: " in said
        damaged = study.files(participant)[NASTIEST[name][0]]
        assert damaged.name.partition(".")[0] in why, (name, why)
        assert not list((out / f"sub-{participant}").rglob("*_qc.tsv")), name
    crashes = [path.read_text() for path in out.glob("sub-bad*/log/*/crash-*")]
    assert all("fmmtc_bidsapp.errors.InputError: " in text for text in crashes)
