"""A nipype workflow run to its end: one failure isolated, crash files read, a closing table.

This room knows nodes and folders, and nothing of what the nodes do.
"""

from fmmtc_bidsapp.engine.arrays import (
    load_arrays,
    load_shared,
    save_array,
    save_arrays,
    save_shared,
)
from fmmtc_bidsapp.engine.codec import load_record, save_record
from fmmtc_bidsapp.engine.crashes import NodeFailure, raise_failure
from fmmtc_bidsapp.engine.plugins import check_resources, release_workers
from fmmtc_bidsapp.engine.progress import duration
from fmmtc_bidsapp.engine.run import NodeResults, run_in_batches, run_workflow
from fmmtc_bidsapp.engine.run_status import (
    Outcome,
    error_code,
    exit_code,
    outcome_columns,
    print_outcomes,
)
from fmmtc_bidsapp.engine.stored import outputs_of
from fmmtc_bidsapp.engine.task import Task, task
from fmmtc_bidsapp.engine.workspace import (
    clean_workspace,
    make_folder,
    new_workflow,
    node_file,
    node_name,
    take_folders_literally,
)

__all__ = [
    "NodeFailure",
    "NodeResults",
    "Outcome",
    "Task",
    "check_resources",
    "clean_workspace",
    "duration",
    "error_code",
    "exit_code",
    "load_arrays",
    "load_record",
    "load_shared",
    "make_folder",
    "new_workflow",
    "node_file",
    "node_name",
    "outcome_columns",
    "outputs_of",
    "print_outcomes",
    "raise_failure",
    "release_workers",
    "run_in_batches",
    "run_workflow",
    "save_array",
    "save_arrays",
    "save_record",
    "save_shared",
    "task",
]

# Here, because workers of a cluster import this room and run nothing else of it.
take_folders_literally()
