"""What this room writes is BIDS; the validator is the oracle."""

import numpy as np
import pytest
from bids_schema import validate

from fmmtc_bidsapp.bidsio.atlases.write_atlas import label_bytes, write_atlas
from fmmtc_bidsapp.bidsio.derivatives.dataset import prepare_output
from fmmtc_bidsapp.bidsio.files.atomic import write_json, write_text
from fmmtc_bidsapp.bidsio.files.names import GroupFiles, participant_report, run_log_dir
from fmmtc_bidsapp.bidsio.files.tsv import write_tsv
from fmmtc_bidsapp.records import Atlas


@pytest.fixture
def tree(written):
    files = written({"sub": "01", "ses": "1", "task": "rest", "acq": "mb", "run": "1"})
    root = files.output_dir
    prepare_output(
        root, config_hash="aaa", desc="none", sources={"fmriprep": root.parent}, version="0.1.0"
    )
    atlas = Atlas(
        label="A424",
        title="A424",
        image=root,
        index=np.arange(1, 4),
        names=("a", "b", "c"),
        networks=("n/a",) * 3,
        subnetworks=("n/a",) * 3,
        coordinates_mm=None,
        space="MNI152NLin6Asym",
        digest="00",
    )
    labels = label_bytes(np.arange(8, dtype=np.int32).reshape(2, 2, 2), np.eye(4))
    write_atlas(root, atlas, labels, "MNI152NLin6Asym", "02")
    write_text(participant_report(root, "sub-01"), "<html></html>")
    write_text(run_log_dir(root, "sub-01", "r1") / "plan.toml", "a = 1")
    write_text(root / "logs" / "CITATION.md", "Cite.")
    group = GroupFiles(root, "fmmtc")
    write_tsv(group.predictions, {"participant_id": ["sub-01"]})
    write_text(group.log_dir("r1") / "plan.toml", "a = 1")
    write_json(group.bundle_dir / "config.json", {})
    return files


@pytest.fixture
def cleaned_tree(tree, written):
    """The same run cleaned as well."""
    root = tree.output_dir
    written(tree.entities, desc="simple")
    for desc in ("parcel-means", "simple"):
        prepare_output(
            root, config_hash=desc, desc=desc, sources={"fmriprep": root.parent}, version="0.1.0"
        )
    return tree


@pytest.mark.parametrize("extended", [False, True])
def test_cleaned_series_and_what_was_removed_are_accepted(cleaned_tree, extended):
    assert validate(cleaned_tree.output_dir, extended=extended) == []


@pytest.mark.parametrize("extended", [False, True])
def test_everything_we_write_is_accepted(tree, extended):
    assert validate(tree.output_dir, extended=extended) == []


@pytest.mark.parametrize(
    ("right", "wrong"), [("_stat-", "_statistic-"), ("_atlas-A424", ""), ("relmat", "relmatt")]
)
def test_a_wrong_name_cannot_hide_from_the_extended_schema(tree, right, wrong):
    tree.relmat.rename(tree.relmat.with_name(tree.relmat.name.replace(right, wrong)))
    assert validate(tree.output_dir, extended=True)


def test_the_bidsignore_hides_no_misspelt_name(tree):
    tree.timeseries.rename(tree.timeseries.with_name("sub-01_ses-1_task-rest_timeseries.tsv"))
    assert any("NOT_INCLUDED" in error for error in validate(tree.output_dir, extended=False))
