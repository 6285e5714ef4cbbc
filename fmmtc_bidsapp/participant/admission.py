"""Checks of the participant level before the first image is opened."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fmmtc_bidsapp.bidsio.atlases.atlas import require_dlabel, resolve_atlas
from fmmtc_bidsapp.bidsio.atlases.templates import find_template_mask, find_transform
from fmmtc_bidsapp.bidsio.derivatives.dataset import check_output_dir, check_work_dir
from fmmtc_bidsapp.bidsio.files.names import LONGEST_NAME, RunFiles, bids_uri
from fmmtc_bidsapp.bidsio.files.origin import join_origins, read_origin
from fmmtc_bidsapp.bidsio.files.strays import Stray
from fmmtc_bidsapp.bidsio.layout.filters import read_filter
from fmmtc_bidsapp.bidsio.layout.find_fmriprep import find_fmriprep
from fmmtc_bidsapp.bidsio.layout.find_runs import find_bold_runs
from fmmtc_bidsapp.bidsio.layout.query import Query
from fmmtc_bidsapp.bidsio.tables.strategy import read_strategy
from fmmtc_bidsapp.digest import digest_of
from fmmtc_bidsapp.errors import AppError, InputError, UsageError
from fmmtc_bidsapp.participant.run_status import Problem, excluded
from fmmtc_bidsapp.plan import ParticipantPlan
from fmmtc_bidsapp.records import Atlas, BoldRun, Origin, Strategy
from fmmtc_bidsapp.signals.denoising.strategies import STRATEGIES_TABLE, choose_strategy

__all__ = ["Start", "Transform", "begin"]

_TEMPLATES = ("MNI152NLin6Asym", "MNI152NLin2009cAsym")
"""TemplateFlow has transforms between these in both directions."""


@dataclass(frozen=True)
class Transform:
    """A transform between templates, and its sha256."""

    path: Path
    digest: str


@dataclass(frozen=True, eq=False)
class Start:
    """All inputs of a run of the participant level."""

    plan: ParticipantPlan
    fmriprep_dir: Path
    origin: Origin
    """What made the images."""
    atlas: Atlas
    strategy: Strategy
    runs: tuple[BoldRun, ...]
    problems: tuple[Problem, ...]
    """Excluded participants and runs so far."""
    strays: tuple[Stray, ...]
    """Files without a valid run name."""
    transforms: Mapping[str, Transform]
    """By space of the images, where it is not the atlas's."""
    template_masks: Mapping[str, Path | None]
    """Brain mask of the template, by space of the images; None where it is not on this machine."""

    @property
    def crash_dir(self) -> Path:
        """Folder of this call's crash files."""
        return self.plan.resources.work_dir / "crash" / self.plan.run_id

    @property
    def placement_dir(self) -> Path:
        """Folder that caches labels on the grids of images."""
        return self.plan.workspace / "placements"

    @property
    def desc(self) -> str:
        """Value of ``desc-`` in the written files."""
        return self.plan.desc or self.strategy.name

    @property
    def configuration_hash(self) -> str:
        """Hash of everything that determines written numbers."""
        text = json.dumps(asdict(self.strategy), sort_keys=True)
        strategy = hashlib.sha256(text.encode()).hexdigest()
        return self.plan.configuration_hash({"atlas": self.atlas.digest, "strategy": strategy})

    @property
    def means_hash(self) -> str:
        """Hash of everything that determines the uncleaned series, shared by all cleanings."""
        return self.plan.means_hash(atlas_digest=self.atlas.digest)

    def files(self, run: BoldRun) -> RunFiles:
        """Return the paths of a run's files."""
        return RunFiles(
            self.plan.output_dir,
            run.entities,
            run.space,
            self.atlas.label,
            self.desc,
            run.res,
            run.den,
            self.plan.connectivity.fc_measure,
        )

    def inputs(self, run: BoldRun) -> list[Path]:
        """Return all input files of a run except the atlas's."""
        transform = self.transforms.get(run.space)
        found = (
            run.bold,
            run.mask,
            run.anat_mask,
            run.confounds,
            self.confounds_sidecar(run),
            run.aroma,
            run.boldref,
            None if transform is None else transform.path,
            self.template_masks[run.space],
        )
        return [path for path in found if path is not None]

    def confounds_sidecar(self, run: BoldRun) -> Path | None:
        """Return the sidecar of a run's confounds, if it exists."""
        sidecar = None if run.confounds is None else run.confounds.with_suffix(".json")
        return sidecar if sidecar is not None and sidecar.is_file() else None

    def label_transform(self, space: str) -> Path | None:
        """Return the transform from the atlas's space to another; None for the same space."""
        return None if space == self.atlas.space else find_transform(self.atlas.space, space)

    def uri(self, path: Path) -> str:
        """Return the BIDS URI of an input file."""
        aroma_dir = self.plan.derivatives.get("aroma")
        if aroma_dir is not None and path.is_relative_to(aroma_dir):
            return bids_uri(path, aroma_dir, "aroma")
        return bids_uri(path, self.fmriprep_dir, "fmriprep")


def begin(plan: ParticipantPlan) -> Start:
    """Find the runs and everything they need; AppError if nothing can be started."""
    fmriprep_dir = find_fmriprep(plan.bids_dir, plan.derivatives)
    inputs = [plan.bids_dir, fmriprep_dir, *plan.derivatives.values()]
    check_output_dir(plan.output_dir, inputs)
    check_work_dir(plan.resources.work_dir, inputs)
    if plan.resources.bids_database_dir is not None:
        check_work_dir(plan.resources.bids_database_dir, inputs, flag="--bids-database-dir")
    atlas = resolve_atlas(plan.parcel.atlas)
    named = plan.denoise.denoise_strategy
    strategy = choose_strategy(read_strategy(named) or STRATEGIES_TABLE[named], plan.denoise)
    selection = plan.selection
    found, exclusions, strays = find_bold_runs(
        fmriprep_dir,
        Query(
            selection.participants,
            selection.sessions,
            selection.tasks,
            selection.runs,
            {} if selection.bids_filter_file is None else read_filter(selection.bids_filter_file),
        ),
        spaces=_spaces(plan, atlas),
        file_format=plan.parcel.file_format,
        database_dir=plan.resources.bids_database_dir,
        aroma_dir=plan.derivatives.get("aroma") if strategy.takes("aroma") else None,
    )
    problems = [excluded(each, selection.participants) for each in exclusions]
    transforms, runs, unreachable = _reach(plan, atlas, found)
    spaces = sorted({run.space for run in runs})
    start = Start(
        plan=plan,
        fmriprep_dir=fmriprep_dir,
        origin=_origin(plan, fmriprep_dir),
        atlas=atlas,
        strategy=strategy,
        runs=tuple(runs),
        problems=(*problems, *unreachable),
        strays=tuple(strays),
        transforms=transforms,
        template_masks={space: find_template_mask(space) for space in spaces},
    )
    return _without_long_names(start)


def _without_long_names(start: Start) -> Start:
    """Exclude runs whose file names would be too long."""
    named = [(run, start.files(run).longest_name()) for run in start.runs]
    problems = [
        Problem(
            run.participant_id,
            "find",
            f"{run.bold.name}: file names such as {name} would have {len(name)} characters; at "
            f"most {LONGEST_NAME} are possible. Use a shorter label of the atlas or the cleaning "
            "(--desc)",
            InputError.exit_code,
        )
        for run, name in named
        if len(name) > LONGEST_NAME
    ]
    kept = tuple(run for run, name in named if len(name) <= LONGEST_NAME)
    return replace(start, runs=kept, problems=(*start.problems, *problems))


def _origin(plan: ParticipantPlan, fmriprep_dir: Path) -> Origin:
    """Read the provenance of the images, and of noise components by another program."""
    own = read_origin(fmriprep_dir, plan.bids_dir)
    aroma_dir = plan.derivatives.get("aroma")
    if aroma_dir is None:
        return own
    return join_origins([own, replace(read_origin(aroma_dir), dataset=own.dataset)])


def _spaces(plan: ParticipantPlan, atlas: Atlas) -> tuple[str, ...]:
    """Return the spaces whose images can be used, the atlas's first."""
    reachable = [atlas.space]
    if atlas.space in _TEMPLATES:
        reachable += [space for space in _TEMPLATES if space != atlas.space]
    asked = plan.selection.space
    if asked == "auto":
        return tuple(reachable)
    if asked not in reachable:
        raise UsageError(
            f"--space is {asked}, but the atlas {atlas.label} is in {atlas.space}, and no "
            f"transform connects them (only {' and '.join(_TEMPLATES)}). Resampling is not "
            "registration. Run without --space, or choose another --atlas."
        )
    return (asked,)


def _reach(
    plan: ParticipantPlan, atlas: Atlas, found: Sequence[BoldRun]
) -> tuple[dict[str, Transform], list[BoldRun], list[Problem]]:
    """Return the transforms by space, runs that can be parcellated, and problems of the others."""
    transforms: dict[str, Transform] = {}
    lacking: dict[tuple[str, str], AppError] = {}
    for kind in sorted({(run.file_format, run.space) for run in found}):
        try:
            transforms |= _transform(plan, atlas, *kind)
        except AppError as error:
            lacking[kind] = error
    reached = [run for run in found if (run.file_format, run.space) not in lacking]
    problems = [
        Problem(
            run.participant_id,
            "atlas",
            str(lacking[run.file_format, run.space]),
            lacking[run.file_format, run.space].exit_code,
        )
        for run in found
        if (run.file_format, run.space) in lacking
    ]
    return transforms, reached, problems


def _transform(
    plan: ParticipantPlan, atlas: Atlas, file_format: str, space: str
) -> dict[str, Transform]:
    if file_format == "cifti":
        require_dlabel(atlas)
        return {}
    if space == atlas.space:
        return {}
    # Figures show the labels on the image whatever the target: both directions are needed.
    find_transform(atlas.space, space)
    ends = {"data": (atlas.space, space), "atlas": (space, atlas.space)}
    path = find_transform(*ends[plan.parcel.resampling_target])
    return {space: Transform(path, digest_of(path))}
