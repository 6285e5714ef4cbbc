"""Ways to damage the inputs of a run, each decided by a random generator and told in words."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

__all__ = [
    "Damage",
    "all_of",
    "atlas_table",
    "bytes_of",
    "cells",
    "columns",
    "cut",
    "extension",
    "fields",
    "filter_file",
    "gzip_bytes",
    "json_text",
    "json_values",
    "replaced",
    "rows",
    "sides",
    "strategy_file",
    "table_text",
    "voxels",
]

Rng = np.random.Generator
Damage = Callable[[Rng, Path], str]
"""Damages a file and says how."""

_HEADER = nib.Nifti1Header.template_dtype
_HEADER_2 = nib.Nifti2Header.template_dtype
_FIELDS = (
    *("dim",) * 6,
    *("pixdim",) * 4,
    *("datatype", "bitpix", "vox_offset", "scl_slope", "scl_inter") * 2,
    *("qform_code", "sform_code", "magic", "sizeof_hdr", "xyzt_units"),
    *("quatern_b", "quatern_c", "qoffset_x", "srow_x", "srow_y", "srow_z"),
    *("intent_code", "slice_end", "cal_max", "toffset"),
)
"""Those that matter come more than once."""

_INTEGERS = (0, 1, -1, 2, 3, 4, 5, 7, 8, 16, 64, 128, 255, 256, 512, 1024, 2048, 32767, -32768)
_FLOATS = (
    *(np.nan, np.inf, -np.inf, 0.0, -1.0, 1.0, 2.0, 352.0, 353.5, 1e-40, 1e-30, 1e30, -1e30),
    *(3.4e38, 348.0, 1e6, 2.0**31, 2.0**63),
)


def _pick(rng: Rng, among: Sequence[Any]) -> Any:
    return among[int(rng.integers(len(among)))]


def _unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def _pack(path: Path, content: bytes) -> None:
    path.write_bytes(gzip.compress(content, 1, mtime=0) if path.suffix == ".gz" else content)


def all_of(damage: Damage, most: int) -> Damage:
    """Do the same kind of damage two to ``most`` times."""

    def several(rng: Rng, path: Path) -> str:
        return ", ".join(damage(rng, path) for _ in range(int(rng.integers(2, most + 1))))

    return several


def fields(rng: Rng, path: Path) -> str:
    """Set one number of a NIfTI header to something else."""
    content = bytearray(_unpacked(path))
    kind = _HEADER if content[:4] != (540).to_bytes(4, "little") else _HEADER_2
    header = np.frombuffer(content, dtype=kind, count=1).copy()
    name = _pick(rng, [each for each in _FIELDS if each in kind.names])
    values = header[name].reshape(-1)
    place = int(rng.integers(len(values)))
    before = values[place]
    values[place] = _other(rng, values.dtype)
    content[: kind.itemsize] = header.tobytes()
    _pack(path, bytes(content))
    return f"{name}[{place}] {before} -> {values[place]}"


def _other(rng: Rng, dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "f":
        return _pick(rng, _FLOATS) if rng.random() < 0.8 else rng.normal() * 10.0 ** rng.integers(9)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.clip(_pick(rng, _INTEGERS), limits.min, limits.max)
    return rng.bytes(dtype.itemsize)


def sides(rng: Rng, path: Path) -> str:
    """Let a header promise an image of other sides, most of them enormous."""
    content = bytearray(_unpacked(path))
    lengths = [int(_pick(rng, (2, 50, 300, 1000, 5000, 32767))) for _ in range(3)]
    content[42:48] = np.array(lengths, dtype="<i2").tobytes()
    _pack(path, bytes(content))
    return f"sides of {lengths} voxels"


def bytes_of(start: int, end: int | None, *, most: int = 4) -> Damage:
    """Overwrite bytes between two places of what a file holds, unpacked."""

    def damage(rng: Rng, path: Path) -> str:
        content = bytearray(_unpacked(path))
        found = rng.integers(start, min(end or len(content), len(content)), rng.integers(1, most))
        for place in found.tolist():
            content[place] = int(rng.integers(256))
        _pack(path, bytes(content))
        return f"bytes {found.tolist()} overwritten"

    return damage


def gzip_bytes(rng: Rng, path: Path) -> str:
    """Flip bits of the compressed stream, its header and its checksum among them."""
    content = bytearray(path.read_bytes())
    ends = (20, len(content), len(content))
    found = rng.integers(0, _pick(rng, ends), rng.integers(1, 4)).tolist()
    if rng.random() < 0.3:
        found.append(len(content) - 1 - int(rng.integers(8)))
    for place in found:
        content[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)
    return f"bits of compressed bytes {found} flipped"


def extension(rng: Rng, path: Path) -> str:
    """Put an extension behind the header whose size or code may be wrong."""
    content = _unpacked(path)
    size = int(_pick(rng, (16, 32, 32, 8, 0, -16, 15, 2**31 - 1, 2**30, 10**6)))
    code = int(_pick(rng, (0, 2, 4, 6, 32, -1, 44)))
    body = np.array([size, code], dtype="<i4").tobytes() + rng.bytes(24)
    header = bytearray(content[:348]) + bytes([1, 0, 0, 0])
    header[108:112] = np.float32(352 + 32).tobytes()
    _pack(path, bytes(header) + body + content[352:])
    return f"an extension of size {size} and code {code}"


def cut(rng: Rng, path: Path) -> str:
    """Cut a file, or what is compressed in it, somewhere."""
    inside = path.suffix == ".gz" and rng.random() < 0.5
    content = _unpacked(path) if inside else path.read_bytes()
    place = int(_pick(rng, (rng.integers(len(content)), rng.integers(400), len(content) - 1)))
    kept = content[: min(place, len(content) - 1)]
    if inside:
        _pack(path, kept)
    else:
        path.write_bytes(kept)
    return f"cut {'inside ' * inside}after byte {len(kept)} of {len(content)}"


def replaced(rng: Rng, path: Path) -> str:
    """Put something else in the place of a file, or behind it."""
    content = path.read_bytes()
    ways: dict[str, bytes] = {
        "empty": b"",
        "zeros behind": content + bytes(100),
        "rubbish behind": content + rng.bytes(100),
        "twice": content + content,
        "zeros": bytes(len(content)),
        "rubbish": rng.bytes(len(content)),
        "text": b"not what the name says\n",
        "pointer": b"/annex/objects/MD5E-s41265300--d41d8cd98f00b204e9800998ecf8427e\n",
        "packed twice": gzip.compress(content, 1),
        "packed nothing": gzip.compress(b""),
        "packed rubbish": gzip.compress(rng.bytes(2000)),
        "only the start of gzip": b"\x1f\x8b\x08\x00",
    }
    name = _pick(rng, list(ways))
    path.write_bytes(ways[name])
    return name


def voxels(rng: Rng, path: Path) -> str:
    """Write NaN, infinities and extremes into the voxels of an image of floats."""
    content = bytearray(_unpacked(path))
    dtype = np.dtype({32: "<f4", 64: "<f8"}[int.from_bytes(content[72:74], "little")])
    values = np.frombuffer(content, dtype=dtype, offset=352).copy()
    share = float(_pick(rng, (0.0005, 0.01, 0.2, 1.0)))
    limits = np.finfo(dtype)
    extremes = (float(limits.max), float(limits.min), float(limits.max) / 50, float(limits.tiny))
    value = float(_pick(rng, (np.nan, np.inf, -np.inf, 0.0, *extremes)))
    values[rng.random(len(values)) < share] = value
    content[352:] = values.tobytes()
    _pack(path, bytes(content))
    return f"{share:g} of the voxels {value}"


_CELLS = (
    *("text", "", " ", "inf", "-inf", "Infinity", "n/a", "nan", "NaN", "NA", "N/A", "null", "None"),
    *("1e400", "-1e400", "1e308", "1e-400", "0", "0.0", "1,5", "1_000", "0x10", "1e", "--1", "٣"),
    *("TRUE", "1 2", "'1'", '"1"', "1.0.0", "\x00", "é", "=1+1", "9" * 400, "-0.0"),
)


def _table(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text().splitlines()]


def _write_table(path: Path, table: Sequence[Sequence[str]]) -> None:
    path.write_text("\n".join("\t".join(row) for row in table) + "\n")


def cells(rng: Rng, path: Path) -> str:
    """Put something else into one to three cells of a table, or into a whole column."""
    table = _table(path)
    value = _pick(rng, _CELLS)
    column = int(rng.integers(len(table[0])))
    found = rng.integers(1, len(table), rng.integers(1, 4)).tolist()
    if rng.random() < 0.2:
        found = list(range(1, len(table)))
    for row in found:
        table[row][column] = value
    _write_table(path, table)
    return f"{table[0][column]} in {len(found)} rows, the first {found[0]}: {value[:20]!r}"


def columns(rng: Rng, path: Path) -> str:
    """Drop, repeat or rename a column."""
    table = _table(path)
    column = int(rng.integers(len(table[0])))
    name = table[0][column]
    way = _pick(rng, ("dropped", "repeated", "copied", "renamed", "moved", "all but it dropped"))
    match way:
        case "dropped":
            table = [row[:column] + row[column + 1 :] for row in table]
        case "repeated":
            table = [[*row, row[column]] for row in table]
        case "copied":
            other = _pick(
                rng, ("CSF", "X", "trans_x_derivative2", "", "a b", "FramewiseDisplacement")
            )
            table = [[*row, row[column] if number else other] for number, row in enumerate(table)]
        case "renamed":
            table[0][column] = _pick(
                rng, (name.upper(), f" {name}", "", "0", f"{name}1", "é", "\x00")
            )
        case "moved":
            table = [[row[column], *row[:column], *row[column + 1 :]] for row in table]
        case _:
            table = [[row[column]] for row in table]
    _write_table(path, table)
    return f"{name} {way}: {table[0][-1]!r} is last"


def rows(rng: Rng, path: Path) -> str:
    """Drop, repeat, empty, shorten or lengthen rows."""
    table = _table(path)
    row = int(rng.integers(1, len(table)))
    way = _pick(
        rng,
        ("dropped", "repeated", "emptied", "shortened", "lengthened", "header", "cut", "turned"),
    )
    match way:
        case "dropped":
            del table[row]
        case "repeated":
            table.insert(row, table[row])
        case "emptied":
            table[row] = _pick(rng, ([""], [], ["n/a"] * len(table[0]), [""] * len(table[0])))
        case "shortened":
            table[row] = table[row][:-1]
        case "lengthened":
            table[row] = [*table[row], "1"]
        case "header":
            table = _pick(rng, (table[:1], table[1:], [table[0], *table]))
        case "cut":
            table = table[:row]
        case _:
            table = [table[0], *table[:0:-1]]
    _write_table(path, table)
    return f"row {row} {way}"


def table_text(rng: Rng, path: Path) -> str:
    """Write the same table in another way, rightly or wrongly."""
    text = path.read_text()
    place = int(rng.integers(len(text)))
    ways: dict[str, bytes] = {
        "comma": text.replace("\t", ",").encode(),
        "spaces": text.replace("\t", "  ").encode(),
        "semicolon": text.replace("\t", ";").encode(),
        "CRLF": text.replace("\n", "\r\n").encode(),
        "CR": text.replace("\n", "\r").encode(),
        "BOM": text.encode("utf-8-sig"),
        "UTF-16": text.encode("utf-16"),
        "latin-1": (text[:place] + "é" + text[place:]).encode("latin-1"),
        "form feed": (text[:place] + "\f" + text[place:]).encode(),
        "line separator": (text[:place] + "\u2028" + text[place:]).encode(),
        "NUL": (text[:place] + "\0" + text[place:]).encode(),
        "tab": (text[:place] + "\t" + text[place:]).encode(),
        "quotes": ('"' + text.replace("\t", '"\t"').replace("\n", '"\n"')).encode(),
        "no last line end": text.rstrip("\n").encode(),
        "empty lines behind": (text + "\n\n\n").encode(),
        "empty line before": ("\n" + text).encode(),
        "decimal commas": text.replace(".", ",").encode(),
        "only a line end": b"\n",
        "only a BOM": b"\xef\xbb\xbf",
        "upper case": text.upper().encode(),
    }
    name = _pick(rng, list(ways))
    path.write_bytes(ways[name])
    return f"{name} at {place}"


_RAW_JSON = (
    *("0", "-1", "1e-320", "1e308", "1e400", "-1e400", "NaN", "Infinity", "null", "true", "false"),
    *('"2.0"', '"two"', '""', "[2.0]", "[]", "{}", '{"a": 1}', "1" + "0" * 400, "1" + "0" * 5000),
    *('"\\ud800"', '"\\u0000"', '"a\\nb\\tc"', "0.72", "2"),
)
"""Values as a file spells them, which need not be JSON."""


def json_values(*keys: str) -> Damage:
    """Give one of some keys of an object another value, or take it out."""

    def damage(rng: Rng, path: Path) -> str:
        content = json.loads(path.read_text())
        key = _pick(rng, keys)
        value = _pick(rng, (*_RAW_JSON, None))
        content.pop(key, None)
        # Other keys of the time must not hide this one.
        entries = [f"{json.dumps(name)}: {json.dumps(each)}" for name, each in content.items()]
        if value is not None:
            entries.append(f"{json.dumps(key)}: {value}")
        if key == "SamplingFrequency":
            entries = [each for each in entries if not each.startswith('"RepetitionTime"')]
        path.write_text("{" + ", ".join(entries) + "}")
        return f"{key}: {value if value is None else value[:20]}"

    return damage


def json_text(rng: Rng, path: Path) -> str:
    """Write broken JSON, or JSON of another shape."""
    text = path.read_text()
    place = int(rng.integers(len(text)))
    ways: dict[str, bytes] = {
        "cut": text[:place].encode(),
        "array": f"[{text}]".encode(),
        "text": b'"RepetitionTime"',
        "null": b"null",
        "BOM": text.encode("utf-8-sig"),
        "UTF-16": text.encode("utf-16"),
        "latin-1": (text[:place] + "é" + text[place:]).encode("latin-1"),
        "trailing comma": text.replace("}", ",}").encode(),
        "twice": (text + text).encode(),
        "single quotes": text.replace('"', "'").encode(),
        "NUL": b"\0",
        "deep": b'{"a":' * 100_000,
        "deep array": b"[" * 100_000,
        "deep and whole": b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
        "line ends": text.replace(",", ",\r\n").encode(),
        "comment": b"// fMRIPrep\n" + text.encode(),
    }
    name = _pick(rng, list(ways))
    path.write_bytes(ways[name])
    return f"{name} at {place}"


def atlas_table(rng: Rng, path: Path) -> str:
    """Spoil the index or the names of an atlas's table."""
    table = _table(path)
    row = int(rng.integers(1, len(table)))
    column = int(rng.integers(2))
    values = (
        *(
            "text",
            "",
            "n/a",
            "1.5",
            "1e3",
            "-1",
            "0",
            "inf",
            "1e400",
            "9" * 30,
            "2147483648",
            "NaN",
        ),
        *("-9223372036854775809", "18446744073709551616", "9223372036854775807", "true", "0x3"),
        *("a\x00b", "é", "../../x", "{}", "<b>", "Node", '"open', "٣", " 3 "),
    )
    value = _pick(rng, (*values, table[1 + row % (len(table) - 1)][column]))
    table[row][column] = value
    _write_table(path, table)
    return f"{table[0][column]} in row {row}: {value!r}"


def _raw(rng: Rng) -> Any:
    return _pick(rng, (None, True, 0, 1.5, "", "*", "rest", "01", [], ["rest"], [None], {}, [[1]]))


def filter_file(rng: Rng, path: Path) -> str:
    """Write a BIDS filter file that is rarely one."""
    names = ("subject", "session", "task", "run", "suffix", "datatype", "space", "echo", "", "sub")
    bold = {_pick(rng, names): _raw(rng) for _ in range(int(rng.integers(1, 3)))}
    contents: Sequence[Any] = (
        *({"bold": bold},) * 4,
        {"bold": _raw(rng)},
        {"t1w": bold},
        {"bold": {"task": "\ud800"}},
        {"bold": {"subject": "../.."}},
        {"bold": {"subject": ["(", "["]}},
        {"bold": {"task": "rest" * 200}},
        _raw(rng),
    )
    path.write_text(json.dumps(_pick(rng, contents)))
    return json_text(rng, path) if rng.random() < 0.3 else path.read_text()[:60]


def strategy_file(rng: Rng, path: Path) -> str:
    """Write a cleaning strategy that is rarely one."""
    odd = (*_STRATEGY_VALUES, *(str(number) for number in _INTEGERS))
    entry = {
        "dataset": "preprocessed",
        "query": "{space: null, desc: confounds, extension: .tsv, suffix: timeseries}",
        "columns": "[trans_x, rot_z, csf]",
    }
    top: dict[str, str] = {
        "name": "own",
        "description": "mine",
        "low_pass": "0.1",
        "fd_threshold": "0.5",
        "detrend": "true",
    }
    place = _pick(rng, ("top", "entry", "text", "whole"))
    key = _pick(rng, list(top if place == "top" else entry))
    value = _pick(rng, odd)
    (top if place == "top" else entry)[key] = value
    inside = "".join(f"    {name}: {each}\n" for name, each in entry.items())
    text = "".join(f"{name}: {each}\n" for name, each in top.items())
    text += f"confounds:\n  motion:\n{inside}"
    if place == "whole":
        text = value
    path.write_bytes(text.encode())
    return table_text(rng, path) if place == "text" else f"{place}, {key}: {value[:30]!r}"


_STRATEGY_VALUES = (
    *("null", "''", "[]", "{}", "text", "true", ".nan", ".inf", "-.inf", "1e400", "[[]]", "~"),
    *("2024-01-01", "!!python/object/apply:os.getpid []", "&a [*a]", "*unknown", "? a", "0x10"),
    *('"\\ud800"', '"\\0"', "'('", "['^(+$']", "['^.*$']", "['^$']", "[trans_x, trans_x]", "[1]"),
    *("['^trans_.$', 'rot_x']", "[cosine_00, csf]", "[motion_outlier.*]", "['\\d']", "!!binary aa"),
    *("1" + "0" * 400, "1:30", "0.01", "|", ">", "%", "@", "`", "\t", "a: b: c", "!!float nan"),
    "[" * 3000,
    "{a: " * 3000,
)
