"""Read a NIfTI image one volume at a time, in constant memory."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from isal import igzip, igzip_lib
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.nifti_header import (
    LONGEST_HEADER_BYTES,
    MAX_DEFLATE_RATIO,
    data_offset_problem,
    placement_problem,
)

__all__ = ["ImageInfo", "iterate_volumes", "plausible_tr_s", "read_info"]

# By NIfTI's codes of units of time; 0 is unknown.
SECONDS_PER_UNIT = {0: 1.0, 8: 1.0, 16: 1e-3, 24: 1e-6}
_UNIT_OF_TIME = 0x38
"""Bits of ``xyzt_units``."""

# Beyond these limits a number is in another unit than its header says, or none at all.
_SHORTEST_TR_S, _LONGEST_TR_S = 1e-3, 100.0

# nibabel does not check headers, so a damaged one raises errors of Python: a size that is NaN or
# infinite, an unknown code, more bytes than memory.
_UNREADABLE = (
    *(ImageFileError, HeaderDataError, zlib.error, OSError, EOFError),
    *(ValueError, ArithmeticError, LookupError, MemoryError),
)

LARGEST_DISAGREEMENT_MM = 1.0
"""Largest difference of qform and sform without a remark: rounding, and oblique axes."""

_SHORTEST_BOLD_TR_S, _LONGEST_BOLD_TR_S = 0.1, 20.0
_DEFAULT_ZOOM = 1.0
"""Default of libraries for an unknown time between volumes."""

READ_AGAIN = "Run fMRIPrep again, or `datalad get` the file."


@dataclass(frozen=True, eq=False)
class ImageInfo:
    """Header of a NIfTI image; its voxels are not read."""

    path: Path
    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    """(4, 4) voxel indices to mm."""
    dtype: np.dtype[Any]
    """As stored, byte order included."""
    data_offset: int
    """Bytes before the first voxel."""
    slope: float
    intercept: float
    """A voxel's value is ``slope * stored + intercept``."""
    tr_s: float | None
    """Repetition time; None where the header gives none that can be one."""
    remarks: tuple[str, ...] = ()
    """What a reader must know of the header."""

    @property
    def n_volumes(self) -> int:
        """Volumes the header promises."""
        return math.prod(self.shape[3:])

    @property
    def n_voxels(self) -> int:
        """Voxels in one volume."""
        return math.prod(self.shape[:3])


def read_info(image: Path) -> ImageInfo:
    """Read the header of a ``.nii`` or ``.nii.gz`` file.

    InputError if the file has no content, is no NIfTI of real numbers in three or more dimensions,
    is smaller than its header promises, or has no affine.
    """
    _require_content(image)
    try:
        start = _start_of(image)
        _require_short_header(image, start)
        loaded = nib.load(image)
    except _UNREADABLE as error:
        raise InputError(
            f"{image} cannot be read as a NIfTI image ({error!r}). A .nii or .nii.gz file is "
            f"needed. {READ_AGAIN}"
        ) from error
    if not isinstance(loaded, nib.Nifti1Image) or not isinstance(loaded.dataobj, ArrayProxy):
        raise InputError(f"{image} is a {type(loaded).__name__}; a volumetric NIfTI is needed.")
    _require_placement(image, start)
    stored = loaded.dataobj
    info = ImageInfo(
        path=image,
        shape=tuple(int(length) for length in stored.shape),
        affine=np.asarray(loaded.affine, dtype=np.float64),
        dtype=stored.dtype,
        data_offset=int(stored.offset),
        slope=float(stored.slope),
        intercept=float(stored.inter),
        tr_s=_tr_s(loaded.header),
        remarks=_disagreement(loaded),
    )
    _require_real_volumes(info)
    _require_plausible_size(info)
    return info


def iterate_volumes(info: ImageInfo) -> Iterator[NDArray[Any]]:
    """Yield each volume as stored, (voxel,), the first image axis fastest, one in memory at a time.

    Slope and intercept are not applied. InputError for missing or surplus volumes and damage.
    """
    volume_bytes = info.n_voxels * info.dtype.itemsize
    n_read = 0
    try:
        with _open(info.path) as stream:
            stream.seek(info.data_offset)
            while n_read < info.n_volumes:
                data = stream.read(volume_bytes)
                if len(data) < volume_bytes:
                    raise _truncated(info, n_read)
                n_read += 1
                yield np.frombuffer(data, dtype=info.dtype)
            # Reading on to the end of the file is what checks the checksum of a .gz.
            surplus = stream.read(1)
    except EOFError as error:
        raise _truncated(info, n_read) from error
    # isal's stub declares its error class as an instance.
    except (OSError, igzip_lib.IsalError) as error:  # type: ignore[misc]
        raise InputError(
            f"{info.path} is damaged ({error}): {n_read} of {info.n_volumes} volumes could be "
            f"read. {READ_AGAIN}"
        ) from error
    if surplus:
        raise InputError(
            f"{info.path} has more data than the {info.n_volumes} volumes of shape "
            f"{info.shape[:3]} in its header. {READ_AGAIN}"
        )


def _open(image: Path) -> BinaryIO:
    return igzip.open(image, "rb") if _is_gzip(image) else image.open("rb")


def _is_gzip(image: Path) -> bool:
    return image.suffix.lower() == ".gz"


def _require_content(image: Path) -> None:
    if image.is_symlink() and not image.exists():
        raise InputError(f"{image} is a link without content. Run `datalad get {image}`.")
    try:
        if not image.is_file():
            raise InputError(f"{image} does not exist. Check the path.")
        with image.open("rb") as stream:
            start = stream.read(256)
    except OSError as error:
        raise InputError(
            f"{image} cannot be read ({error.strerror or error}). Check its permissions and the "
            "disk."
        ) from error
    if b"annex/objects" in start:
        raise InputError(
            f"{image} is a git-annex pointer of {image.stat().st_size} bytes, not an image. "
            f"Run `datalad get {image}`."
        )
    if _is_gzip(image) and not start.startswith(b"\x1f\x8b"):
        raise InputError(
            f"{image} is named .gz but is not compressed: it starts with {start[:24]!r}. "
            f"{READ_AGAIN}"
        )


def _start_of(image: Path) -> bytes:
    """Read the longest possible header; empty if nibabel will report the error."""
    try:
        with _open(image) as stream:
            return stream.read(LONGEST_HEADER_BYTES)
    except (OSError, EOFError, igzip_lib.IsalError):  # type: ignore[misc]
        return b""


def _require_short_header(image: Path, start: bytes) -> None:
    """Raise InputError for an implausibly long header, which nibabel would read."""
    problem = data_offset_problem(start)
    if problem is not None:
        raise InputError(f"{image} is damaged: {problem}. {READ_AGAIN}")


def _require_placement(image: Path, start: bytes) -> None:
    """Raise InputError for a header without affine, which nibabel would invent."""
    problem = placement_problem(start)
    if problem is not None:
        raise InputError(
            f"{image}: {problem}. fMRIPrep writes it to every image; another program removed it. "
            f"{READ_AGAIN}"
        )


def _disagreement(loaded: nib.Nifti1Image) -> tuple[str, ...]:
    """Describe the distance between qform and sform, if both exist and differ."""
    if not (loaded.header["qform_code"] > 0 and loaded.header["sform_code"] > 0):
        return ()
    try:
        qform, sform = loaded.get_qform(), loaded.get_sform()
    except (HeaderDataError, ValueError):
        return ("its qform cannot be read; its sform is used",)
    ends = product(*((0, length - 1) for length in loaded.shape[:3]))
    corners = np.array([(*corner, 1) for corner in ends], dtype=np.float64).T
    apart_mm = float(np.linalg.norm(((qform - sform) @ corners)[:3], axis=0).max())
    if apart_mm <= LARGEST_DISAGREEMENT_MM:
        return ()
    return (f"its qform and sform lie up to {apart_mm:.0f} mm apart; its sform is used",)


def _require_real_volumes(info: ImageInfo) -> None:
    if info.dtype.kind not in "iuf" or len(info.shape) < 3 or min(info.shape) < 1:
        raise InputError(
            f"{info.path} has values of type {info.dtype} in shape {info.shape}; integers or "
            f"floats in three or four dimensions are needed. {READ_AGAIN}"
        )
    if not np.isfinite(info.affine).all() or np.linalg.det(info.affine) == 0:
        raise InputError(
            f"The affine of {info.path} is not valid: {info.affine.tolist()}. {READ_AGAIN}"
        )


def _require_plausible_size(info: ImageInfo) -> None:
    """Raise InputError if the header promises more than the file can hold."""
    volume_bytes = info.n_voxels * info.dtype.itemsize
    found = info.path.stat().st_size
    packed = _is_gzip(info.path)
    most = found * (MAX_DEFLATE_RATIO if packed else 1)
    if info.data_offset + info.n_volumes * volume_bytes > most:
        raise _truncated(info, 0 if packed else max(found - info.data_offset, 0) // volume_bytes)


def _truncated(info: ImageInfo, n_read: int) -> InputError:
    return InputError(
        f"{info.path} is truncated: {n_read} of {info.n_volumes} volumes of shape "
        f"{info.shape[:3]} could be read. {READ_AGAIN}"
    )


def _tr_s(header: Any) -> float | None:
    zooms = header.get_zooms()
    if len(zooms) < 4:
        return None
    step, unit = float(zooms[3]), int(header["xyzt_units"]) & _UNIT_OF_TIME
    if unit == 0 and not _can_only_be_seconds(step):
        return None
    return plausible_tr_s(step * SECONDS_PER_UNIT.get(unit, np.nan))


def _can_only_be_seconds(step: float) -> bool:
    """Return whether a number without unit is a BOLD repetition time in seconds."""
    return step != _DEFAULT_ZOOM and _SHORTEST_BOLD_TR_S <= step <= _LONGEST_BOLD_TR_S


def plausible_tr_s(tr_s: float) -> float | None:
    """Return a repetition time of 0.001 to 100 s; None for other numbers."""
    return tr_s if _SHORTEST_TR_S <= tr_s <= _LONGEST_TR_S else None
