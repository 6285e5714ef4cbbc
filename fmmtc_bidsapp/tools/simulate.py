"""``fmmtc-tools simulate``: a dataset with known truth."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from fmmtc_bidsapp.bidsio.atlases.atlas import resolve_atlas
from fmmtc_bidsapp.errors import MissingResourceError
from fmmtc_bidsapp.records import Atlas
from fmmtc_bidsapp.simulate.dataset import (
    derivatives_dir,
    is_finished,
    recipe,
    truth_dir,
    write_dataset,
)
from fmmtc_bidsapp.simulate.options import SimulationOptions
from fmmtc_bidsapp.simulate.parcellation import DEMO_PARCELS, demo_atlas
from fmmtc_bidsapp.simulate.truth import GroundTruth

__all__ = ["simulate"]

_AUTO, _DEMO = "auto", "demo"


def simulate(
    out: Path,
    options: SimulationOptions,
    *,
    atlas: str = _AUTO,
    parcels: int = DEMO_PARCELS,
    voxel_size_mm: float = 4.0,
    dtype: str = "int16",
) -> int:
    """Write a simulated dataset into an empty folder, print where its parts are, and return 0.

    The same dataset is left as it is. `atlas` is ``A424``, a path, ``demo`` (a parcellation of
    `parcels` parcels made for demonstration) or ``auto`` (A424 if available, else demo); `dtype`
    is ``int16`` or ``float32``.
    """
    with TemporaryDirectory() as scratch:
        chosen = _choose_atlas(atlas, parcels, Path(scratch))
        if is_finished(out, recipe(options, chosen, voxel_size_mm, dtype)):
            print(f"{out} already holds this simulation; nothing to do.")
            return 0
        truth = write_dataset(
            out, options, chosen, voxel_size_mm=voxel_size_mm, dtype=dtype, progress=_report
        )
    _summarise(out, chosen, truth)
    return 0


def _choose_atlas(atlas: str, parcels: int, scratch: Path) -> Atlas:
    if atlas == _DEMO:
        return resolve_atlas(str(demo_atlas(scratch, parcels)))
    if atlas != _AUTO:
        return resolve_atlas(atlas)
    try:
        return resolve_atlas("A424")
    except MissingResourceError as error:
        made = resolve_atlas(str(demo_atlas(scratch, parcels)))
        print(f"NOTICE: {error}\nNOTICE: without A424 this simulation uses: {made.title}.")
        return made


def _report(participant_id: str) -> None:
    print(f"{participant_id} written", flush=True)


def _summarise(out: Path, atlas: Atlas, truth: GroundTruth) -> None:
    responders, others = int((truth.y == 1).sum()), int((truth.y == 0).sum())
    lines = [
        f"dataset      {out} ({responders} responders, {others} others, {truth.options.controls} "
        "controls)",
        f"derivatives  {derivatives_dir(out)}",
        f"truth        {truth_dir(out)}",
        f"atlas        {atlas.title}: --atlas {truth_dir(out) / atlas.image.name}",
        f"planted      {', '.join(truth.latents) or 'no effect'} in {', '.join(truth.planted)}",
        *(
            f"oracle       {each.name}: AUROC {each.auroc:.2f}"
            + ("" if each.name in {*truth.latents, "combined"} else " (not planted)")
            for each in truth.oracles
        ),
    ]
    print("\n".join(lines))
