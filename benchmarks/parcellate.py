"""Parcel means against bare decompression and nilearn: ``python benchmarks/parcellate.py``.

Two images of 91x109x91 voxels and 200 volumes (int16 and float32, gzip level 1) are made once and
kept in a temporary folder. Every figure is taken in a process of its own, in interleaved repeats;
ratios are those of the fastest runs, since whatever else the machine does only ever adds time. Ends
with 1 where a limit is missed.
"""

# nibabel and isal leave these calls untyped.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Heavy libraries are imported where they are used: they would count in every process's memory.
from measure import Measurement, machine, markdown_table, run_isolated, spread

SHAPE, N_VOLUMES, N_PARCELS, TR_S = (91, 109, 91), 200, 424, 2.0
AFFINE = ((-2, 0, 0, 90), (0, 2, 0, -126), (0, 0, 2, -72), (0, 0, 0, 1))
DTYPES = ("int16", "float32")
METHODS = ("decompress", "parcel_means", "nilearn_means")

MAX_TIMES_DECOMPRESSION = 1.5
MIN_TIMES_FASTER_THAN_NILEARN = 8.0
MAX_PEAK_RSS_MB = 150.0
MAX_RELATIVE_DIFFERENCE = 1e-5


@dataclass(frozen=True)
class Row:
    """Figures of one image type; a list holds one value per repeat."""

    dtype: str
    file_mb: float
    wall_s: dict[str, list[float]]
    peak_rss_mb: dict[str, list[float]]
    times_decompression: float
    times_faster_than_nilearn: float
    max_relative_difference: float

    @property
    def missed(self) -> list[str]:
        """Limits that this row does not keep, in words."""
        limits = {
            "time over decompression": self.times_decompression <= MAX_TIMES_DECOMPRESSION,
            "speed over nilearn": self.times_faster_than_nilearn >= MIN_TIMES_FASTER_THAN_NILEARN,
            "peak memory": max(self.peak_rss_mb["parcel_means"]) <= MAX_PEAK_RSS_MB,
            "difference to nilearn": self.max_relative_difference <= MAX_RELATIVE_DIFFERENCE,
        }
        return [name for name, kept in limits.items() if not kept]


def decompress(folder: str, dtype: str) -> Callable[[], int]:
    from isal import igzip

    def run() -> int:
        n_bytes = 0
        with igzip.open(Path(folder, f"{dtype}.nii.gz")) as stream:
            while block := stream.read(1 << 20):
                n_bytes += len(block)
        return n_bytes

    return run


def parcel_means(folder: str, dtype: str) -> Callable[[], None]:
    import numpy as np

    from fmmtc_bidsapp.signals.parcellation import parcellate, placement, space

    image = Path(folder, f"{dtype}.nii.gz")
    grid = space.read_grid(image)
    mask = space.read_mask(Path(folder, "mask.nii.gz"), grid)
    placed = placement.place_parcels(
        Path(folder, "labels.nii.gz"),
        np.arange(1, N_PARCELS + 1),
        grid,
        target="data",
        transform=None,
    )

    def run() -> None:
        means = parcellate.parcel_means(image, placed, mask=mask, min_coverage=0)
        np.save(Path(folder, f"{dtype}_parcel_means.npy"), means.signal)

    return run


def nilearn_means(folder: str, dtype: str) -> Callable[[], None]:
    import numpy as np
    from nilearn.maskers import NiftiLabelsMasker

    masker = NiftiLabelsMasker(
        str(Path(folder, "labels.nii.gz")),
        mask_img=str(Path(folder, "mask.nii.gz")),
        standardize=None,
        resampling_target=None,
    )

    def run() -> None:
        signal = masker.fit_transform(str(Path(folder, f"{dtype}.nii.gz")))
        np.save(Path(folder, f"{dtype}_nilearn_means.npy"), signal)

    return run


def make_inputs(folder: Path) -> None:
    """Write the mask, the labels and one image per type, unless they are there."""
    import nibabel as nib
    import numpy as np
    from nilearn.datasets import load_mni152_brain_mask
    from nilearn.image import resample_img

    from fmmtc_bidsapp.signals.parcellation.space import read_labels

    if all((folder / f"{dtype}.nii.gz").exists() for dtype in DTYPES):
        return
    folder.mkdir(parents=True, exist_ok=True)
    brain = resample_img(
        load_mni152_brain_mask(resolution=2),
        np.array(AFFINE),
        SHAPE,
        interpolation="nearest",
        force_resample=True,
        copy_header=True,
    )
    mask = np.asarray(brain.dataobj) > 0
    nib.Nifti1Image(mask.astype(np.uint8), np.array(AFFINE)).to_filename(folder / "mask.nii.gz")
    labels = read_labels(a424) if (a424 := _a424()) else _blocks(mask)
    nib.Nifti1Image(labels.astype(np.float32), np.array(AFFINE)).to_filename(
        folder / "labels.nii.gz"
    )
    for dtype in DTYPES:
        _write_image(folder / f"{dtype}.nii.gz", dtype, mask)


def _a424() -> Path | None:
    default = Path(__file__).resolve().parents[2] / "shared"
    atlas = Path(os.environ.get("FMMTC_SHARED", default)) / "data" / "atlas" / "A424+2mm.nii.gz"
    return atlas if atlas.exists() else None


def _blocks(mask: Any) -> Any:
    """Return the mask cut into as many blocks as A424 has parcels, in storage order."""
    import numpy as np

    labels = np.zeros(mask.shape)
    for label, voxels in enumerate(np.array_split(np.argwhere(mask), N_PARCELS), start=1):
        labels[tuple(voxels.T)] = label
    return labels


def _write_image(path: Path, dtype: str, mask: Any) -> None:
    """Write smooth noise around a level: high in the brain, low and partly 0 outside."""
    import nibabel as nib
    import numpy as np
    from isal import igzip
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape((*SHAPE, N_VOLUMES))
    header.set_sform(np.array(AFFINE), code="mni")
    header.set_zooms((2, 2, 2, TR_S))
    header.set_xyzt_units("mm", "sec")
    header["vox_offset"] = 352
    scale = np.where(mask, 1, 0.05) * (mask | (np.arange(SHAPE[0]) < SHAPE[0] // 2)[:, None, None])
    partial = path.with_suffix(".part")
    with igzip.open(partial, "wb", compresslevel=1) as stream:
        header.write_to(stream)
        for _ in range(N_VOLUMES):
            noise = gaussian_filter(rng.standard_normal(SHAPE, dtype=np.float32), 1)
            stream.write((scale * (1000 + 200 * noise)).astype(dtype).tobytes(order="F"))
    partial.rename(path)


def measure(folder: Path, dtype: str, repeats: int) -> Row:
    runs: dict[str, list[Measurement]] = {method: [] for method in METHODS}
    for _ in range(repeats):
        for method in METHODS:
            runs[method].append(run_isolated(f"{__file__}:{method}", [str(folder), dtype]))
    wall_s = {method: [each.wall_s for each in runs[method]] for method in METHODS}
    fastest = {method: min(values) for method, values in wall_s.items()}
    return Row(
        dtype=dtype,
        file_mb=(folder / f"{dtype}.nii.gz").stat().st_size / 1e6,
        wall_s=wall_s,
        peak_rss_mb={method: [each.peak_rss_mb for each in runs[method]] for method in METHODS},
        times_decompression=fastest["parcel_means"] / fastest["decompress"],
        times_faster_than_nilearn=fastest["nilearn_means"] / fastest["parcel_means"],
        max_relative_difference=_difference(folder, dtype),
    )


def _difference(folder: Path, dtype: str) -> float:
    import numpy as np

    ours, theirs = (
        np.load(folder / f"{dtype}_{method}.npy") for method in ("parcel_means", "nilearn_means")
    )
    return float(np.abs(ours / theirs - 1).max())


def table(rows: list[Row]) -> str:
    return markdown_table(
        [
            {
                "image": f"{row.dtype}, {row.file_mb:.0f} MB",
                "decompression, s": spread(row.wall_s["decompress"]),
                "parcel_means, s": spread(row.wall_s["parcel_means"]),
                "nilearn, s": spread(row.wall_s["nilearn_means"], 1),
                "× decompression": f"{row.times_decompression:.2f}",
                "× faster than nilearn": f"{row.times_faster_than_nilearn:.1f}",
                "peak RSS, MB": spread(row.peak_rss_mb["parcel_means"], 0),
                "nilearn's": spread(row.peak_rss_mb["nilearn_means"], 0),
                "max relative difference": f"{row.max_relative_difference:.1e}",
            }
            for row in rows
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each (default 5)")
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir(), "fmmtc-benchmark-parcellate"),
        help="where the images are kept (default %(default)s)",
    )
    arguments = parser.parse_args()
    make_inputs(arguments.folder)
    rows = [measure(arguments.folder, dtype, arguments.repeats) for dtype in DTYPES]
    print(machine(), table(rows), sep="\n\n")
    if arguments.json:
        figures = {"machine": machine(), "rows": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    missed = [f"{row.dtype}: {limit}" for row in rows for limit in row.missed]
    print("\nlimits missed: " + ", ".join(missed) if missed else "\nall limits kept")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
