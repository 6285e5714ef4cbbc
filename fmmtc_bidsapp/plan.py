"""The plan of one call: paths, participants, options, resources.

A plan is written unchanged as the run's ``plan.toml``. The configuration hash says whether two
runs would compute the same thing: it covers the options, the digests of the files they name and
the minor version, but no path or resource.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fmmtc_bidsapp._version import __version__
from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.options import (
    CohortOptions,
    ConnectivityOptions,
    DenoiseOptions,
    EvaluationOptions,
    ExplainOptions,
    ModelOptions,
    ParcelOptions,
    ProtocolOptions,
    TrainOptions,
)

__all__ = [
    "GroupPlan",
    "ParticipantPlan",
    "Resources",
    "Selection",
    "configuration_hash",
    "plan_table",
]

_NAMED_FILES = frozenset({"atlas", "encoder_weights", "denoise_strategy"})
"""Options that name a file: the file's digest enters the hash, its path does not."""

_PLACE = frozenset({"device"})
"""Options that choose where to compute, not what is computed."""

_MORE = frozenset({"combine_runs", "file_format"})
"""Options that add files and change none: grayordinates have other names."""

_SPELLED_OUT = frozenset({"network", "features", "permutations"})
"""Options with defaults that only the group level knows; it adds the models and shuffles to the
digests, since fewer of them would replace a result by a smaller one."""

_ANY_ORDER = frozenset({"where", "participants", "sessions", "tasks", "runs"})
"""Options whose order does not matter."""


@dataclass(frozen=True)
class Selection:
    """The part of the dataset to process; labels without prefix, empty for all."""

    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    space: str = "auto"
    atlas: str | None = None
    """Label of the atlas whose series the group level reads; None for the only one there is."""
    bids_filter_file: Path | None = None
    """BIDS filter file of the participant level; it is combined with the labels."""


@dataclass(frozen=True)
class Resources:
    """Processes, memory and folders of a run."""

    work_dir: Path
    n_procs: int = 1
    omp_nthreads: int = 1
    memory_gb: float | None = None
    """Memory all nodes may take together; None for nine tenths of what this process may take."""
    stop_on_first_crash: bool = False
    bids_database_dir: Path | None = None
    """Folder that keeps pybids' index of the input; None for none on disk."""
    plugin_file: Path | None = None
    """YAML file with ``plugin`` and ``plugin_args``; None for local processes."""
    scheduler_address: str | None = None
    """Address of a Dask scheduler, or the file that it wrote; None for none."""
    clean_workdir: bool = False
    """Whether the workspace is removed once everything is done."""
    resource_monitor: bool = False
    write_graph: bool = False
    verbose: int = 0

    def __post_init__(self) -> None:
        if self.n_procs < 1 or self.omp_nthreads < 1:
            raise UsageError("--nprocs and --omp-nthreads must be 1 or more.")


@dataclass(frozen=True)
class ParticipantPlan:
    """One call at the participant level."""

    bids_dir: Path
    output_dir: Path
    run_id: str
    resources: Resources
    derivatives: Mapping[str, Path] = field(default_factory=dict)
    selection: Selection = field(default_factory=Selection)
    parcel: ParcelOptions = field(default_factory=ParcelOptions)
    denoise: DenoiseOptions = field(default_factory=DenoiseOptions)
    connectivity: ConnectivityOptions = field(default_factory=ConnectivityOptions)
    desc: str | None = None
    """Name the files are written under; None for the strategy's own."""
    mode: str = "run"
    """``run``; ``dry-run`` says what would be done; ``reports-only`` and ``boilerplate-only`` write
    reports and methods text again from existing results."""

    def __post_init__(self) -> None:
        if self.desc is not None and not re.fullmatch("[0-9A-Za-z]+", self.desc):
            raise UsageError(
                f"--desc is {self.desc!r}; it is part of file names: use letters and digits."
            )
        _require_short("--desc", self.desc or "")
        taken = {"confounds"} | ({"none"} if self.denoise.denoise_strategy != "none" else set())
        if self.desc is not None and self.desc.casefold() in taken:
            raise UsageError(
                f"--desc is {self.desc!r}, which names other files: desc-none is the uncleaned "
                "series, desc-confounds fMRIPrep's table. Choose another name."
            )
        if self.connectivity.combine_runs and self.selection.runs:
            raise UsageError(
                "--combine-runs needs all runs of a task; leave --run-id out, or combine later."
            )

    @property
    def workspace(self) -> Path:
        """Folder in which the nodes of this dataset and output compute."""
        return _workspace(self)

    def configuration_hash(self, digests: Mapping[str, str]) -> str:
        """Hash all that decides series and matrices; `digests` are of atlas and strategy."""
        return configuration_hash(self.parcel, self.denoise, self.connectivity, digests=digests)

    def means_hash(self, *, atlas_digest: str) -> str:
        """Hash all that decides the uncleaned series, which all strategies of a dataset share."""
        return configuration_hash(self.parcel, digests={"atlas": atlas_digest})


@dataclass(frozen=True)
class GroupPlan:
    """One call at the group level."""

    bids_dir: Path
    output_dir: Path
    run_id: str
    resources: Resources
    analysis: str
    """``train``, ``compare``, ``apply`` or ``qc``."""
    label: str
    """Name of the result in ``group_desc-<label>_…`` and ``models/<label>``."""
    random_seed: int = 0
    derivatives: Mapping[str, Path] = field(default_factory=dict)
    selection: Selection = field(default_factory=Selection)
    participants: Path | None = None
    """The participants table; None for ``bids_dir/participants.tsv``."""
    phenotype: tuple[Path, ...] = ()
    """Tables whose columns are joined to the participants table."""
    model_dir: Path | None = None
    """The bundle that ``apply`` reads."""
    cohort: CohortOptions = field(default_factory=CohortOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    model_flags: tuple[str, ...] = ()
    """Model options that the user set; ``apply`` refuses those that contradict the bundle."""
    train: TrainOptions = field(default_factory=TrainOptions)
    evaluation: EvaluationOptions = field(default_factory=EvaluationOptions)
    protocol: ProtocolOptions = field(default_factory=ProtocolOptions)
    explain: ExplainOptions = field(default_factory=ExplainOptions)
    mode: str = "run"
    """As of the participant level; ``reports-only`` writes the report of a label."""

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9A-Za-z]+", self.label):
            raise UsageError(
                f"--label is {self.label!r}; it is part of file names: use letters and digits."
            )
        _require_short("--label", self.label)
        if self.random_seed < 0:
            raise UsageError(f"--random-seed is {self.random_seed}; it must be 0 or more.")
        runs = self.mode in ("run", "dry-run")
        if runs and self.analysis in ("train", "compare") and not self.cohort.target:
            raise UsageError(
                f"--analysis {self.analysis} needs --target COLUMN: the column of the participants "
                "table to predict."
            )
        if self.protocol.subset_by and self.protocol.subset_by == self.cohort.target:
            raise UsageError(
                f"--subset-by {self.cohort.target} is the outcome itself. Name a column that is "
                "known before the outcome, such as the treatment arm."
            )
        if self.cohort.adjust and not self.cohort.covariates:
            raise UsageError("--adjust needs --covariates: the columns to regress out.")
        if runs and self.analysis == "apply" and self.model_dir is None:
            raise UsageError(
                "--analysis apply needs --model DIR: a models/<label> folder that --analysis "
                "train wrote."
            )

    @property
    def workspace(self) -> Path:
        """Folder in which the nodes of this dataset and output compute."""
        return _workspace(self)

    @property
    def series_dir(self) -> Path:
        """Folder of the parcel series: of another program, or the output."""
        return self.derivatives.get("parcels", self.output_dir)

    @property
    def participants_table(self) -> Path:
        """The table that holds the outcome."""
        return self.participants or self.bids_dir / "participants.tsv"

    def configuration_hash(self, digests: Mapping[str, str]) -> str:
        """Hash all that decides the numbers in the tables of a label.

        Explanations change no fit, so another one may be asked for under the same label. `digests`
        are those of atlas and weights, and the models and shuffles.
        """
        return configuration_hash(
            self.cohort,
            self.model,
            self.train,
            self.evaluation,
            self.protocol,
            self.selection,
            digests={
                **digests,
                "analysis": self.analysis,
                "seed": str(self.random_seed),
            },
        )


def configuration_hash(*options: Any, digests: Mapping[str, str]) -> str:
    """Return 16 hexadecimal digits of options, digests and the minor version of this program."""
    values: dict[str, Any] = {}
    for each in options:
        values |= asdict(each)
    for name in _NAMED_FILES | _PLACE | _MORE | _SPELLED_OUT:
        values.pop(name, None)
    values |= {name: sorted(values[name]) for name in _ANY_ORDER & values.keys()}
    minor_version = ".".join(__version__.split(".")[:2])
    text = json.dumps([values, dict(digests), minor_version], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


_LONGEST_LABEL = 100
"""File names have at most 255 bytes, and a label is a part of them."""


def _require_short(flag: str, label: str) -> None:
    if len(label) > _LONGEST_LABEL:
        raise UsageError(
            f"{flag} has {len(label)} characters; names of files have room for {_LONGEST_LABEL}."
        )


def _workspace(plan: ParticipantPlan | GroupPlan) -> Path:
    """Return a folder that no other version, dataset or output shares.

    The cache of nipype hashes the inputs of a node, not this program, and two datasets with one
    work directory would have nodes, and so folders, of the same name.
    """
    places = [plan.bids_dir, plan.output_dir, *sorted(plan.derivatives.values())]
    text = "\n".join(str(path.resolve()) for path in places)
    key = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
    return plan.resources.work_dir / f"fmmtc_{__version__}" / key


def plan_table(plan: ParticipantPlan | GroupPlan) -> dict[str, Any]:
    """Return the plan as nested tables of text, numbers and lists, ready for TOML or JSON."""
    table = asdict(plan)
    table["version"] = __version__
    plain: dict[str, Any] = _plain(table)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value
