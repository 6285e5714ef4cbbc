from dataclasses import replace
from pathlib import Path

import pytest
from bidsschematools.schema import load_schema
from hypothesis import given
from hypothesis import strategies as st

from fmmtc_bidsapp.bidsio.files.names import (
    ENTITY_ORDER,
    STATISTICS,
    UNCLEANED,
    GroupFiles,
    RunFiles,
    atlas_files,
    bids_uri,
    build_name,
    parse_name,
    space_of,
)
from fmmtc_bidsapp.errors import InputError

labels = st.text("abcXYZ0189+", min_size=1, max_size=8)
entity_sets = st.dictionaries(st.sampled_from(ENTITY_ORDER), labels, min_size=1)


@given(entity_sets, st.sampled_from(["bold", "T1w"]), st.sampled_from([".nii.gz", ".tsv", ""]))
def test_a_built_name_parses_back_to_its_parts(entities, suffix, extension):
    parsed = parse_name(Path("folder") / build_name(entities, suffix, extension))
    assert (parsed.entities, parsed.suffix, parsed.extension) == (entities, suffix, extension)


def test_entities_stand_in_the_order_of_the_bids_schema():
    schema = load_schema()
    keys = [schema.objects.entities[name]["name"] for name in schema.rules.entities]
    ours = [key for key in ENTITY_ORDER if key in keys]
    # A name has a subject or a template, never both, so their order is free.
    assert [key for key in ours if key != "tpl"] == [key for key in keys if key != "tpl"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("bold_space-T1w_preproc.nii.gz", "space-T1w_desc-preproc_bold.nii.gz"),
        ("bold_space-T1w_brainmask.nii.gz", "space-T1w_desc-brain_mask.nii.gz"),
        ("bold_confounds.tsv", "desc-confounds_timeseries.tsv"),
        ("T1w_space-MNI_brainmask.nii.gz", "space-MNI_desc-brain_mask.nii.gz"),
        (
            "bold_space-T1w_variant-smoothAROMAnonaggr_preproc.nii.gz",
            "space-T1w_desc-smoothAROMAnonaggr_bold.nii.gz",
        ),
    ],
)
def test_a_name_of_fmriprep_1_0_means_the_same_as_its_name_of_today(old, new):
    run = "sub-01_ses-2_task-rest_run-01"
    assert parse_name(f"{run}_{old}") == parse_name(f"{run}_{new}")


def test_a_name_without_bold_inside_is_not_taken_for_an_old_one():
    assert parse_name("sub-01_space-T1w_preproc.nii.gz").suffix == "preproc"


@pytest.mark.parametrize(
    "name", ["sub-01_sub-02_bold.nii", "sub-01_rest_bold.nii", "sub-_bold.nii", "sub-01.html", ""]
)
def test_a_malformed_name_is_refused(name):
    with pytest.raises(InputError, match="is not a BIDS name"):
        parse_name(name)


def test_a_label_with_an_underscore_is_refused():
    with pytest.raises(InputError, match="letters and digits"):
        build_name({"sub": "0_1"}, "bold", ".nii")


def test_an_unknown_entity_is_refused_with_those_there_are():
    with pytest.raises(InputError, match=r"entity feature. Known are tpl sub ses"):
        build_name({"feature": "1"}, "bold", ".nii")


def test_no_source_entity_is_dropped_and_res_follows_atlas():
    source = {"sub": "01", "ses": "2", "task": "rest", "acq": "mb", "dir": "AP", "run": "1"}
    files = RunFiles(Path("out"), source, "MNI152NLin6Asym", "A424", "none", "02")
    src = "sub-01_ses-2_task-rest_acq-mb_dir-AP_run-1"
    grid = f"{src}_space-MNI152NLin6Asym_atlas-A424_res-02"
    folder = Path("out/sub-01/ses-2/func")
    assert files.func_dir == folder
    assert files.timeseries == folder / f"{grid}_stat-mean_desc-none_timeseries.tsv"
    assert files.relmat == folder / f"{grid}_stat-pearsoncorrelation_desc-none_relmat.tsv"
    assert files.coverage == folder / f"{grid}_stat-coverage_bold.tsv"
    assert files.qc == folder / f"{src}_space-MNI152NLin6Asym_atlas-A424_desc-none_qc.tsv"


SOURCE = ("ses", "task", "acq", "ce", "dir", "rec", "run", "echo", "part")
few = st.sampled_from(["1", "01", "a", "A"])
sources = st.fixed_dictionaries(
    {"sub": few, "task": few}, optional={key: few for key in SOURCE if key != "task"}
)
runs = st.builds(
    RunFiles,
    st.just(Path("out")),
    sources,
    space=few,
    atlas=few,
    desc=few,
    res=st.none() | few,
    den=st.none() | few,
    measure=st.sampled_from(sorted(STATISTICS)),
)
GRID = ("space", "atlas", "res", "den")
TOLD = {
    "timeseries": (*GRID, "desc"),
    "uncleaned": GRID,
    "relmat": (*GRID, "desc", "measure"),
    "coverage": GRID,
    "outliers": ("desc",),
    "design": ("desc",),
    "qc": ("space", "atlas", "desc"),
}
"""What tells a kind of file from the same kind of another call, besides the run's entities."""


def every_file(files):
    return {kind: getattr(files, kind) for kind in TOLD} | {"figure": files.figure("carpet")}


def extra_of(files, kind):
    """Entities of a file of the run that are not the run's own, as its table says them."""
    told = {key: getattr(files, key) for key in TOLD[kind] if key != "measure"}
    told |= {"desc": UNCLEANED} if kind == "uncleaned" else {}
    if kind in ("timeseries", "uncleaned"):
        told["stat"] = "mean"
    if kind == "relmat":
        told["stat"] = STATISTICS[files.measure]
    if kind == "coverage":
        told["stat"] = "coverage"
    return {key: value for key, value in told.items() if value is not None}


@given(runs)
def test_every_file_of_a_run_says_all_of_its_entities_and_no_other(files):
    for kind in TOLD:
        path = getattr(files, kind)
        assert dict(parse_name(path).entities) == {**files.entities, **extra_of(files, kind)}
        folders = [
            f"{key}-{files.entities[key]}" for key in ("sub", "ses") if key in files.entities
        ]
        assert path.parent == Path("out", *folders, "func")


@given(runs)
def test_the_files_of_a_run_have_names_of_their_own(files):
    paths = list(every_file(files).values())
    assert len(set(paths)) == len(paths)


@given(runs, runs)
def test_two_files_share_a_name_only_where_everything_they_tell_is_the_same(one, other):
    for kind, told in TOLD.items():
        same = one.entities == other.entities and all(
            getattr(one, key) == getattr(other, key) for key in told
        )
        assert (getattr(one, kind) == getattr(other, kind)) == same
    for kind, path in every_file(one).items():
        for another, other_path in every_file(other).items():
            assert kind == another or path != other_path


@given(
    runs,
    st.sampled_from(["ses", "acq", "ce", "dir", "rec", "run", "space", "res", "den", "desc"]),
)
def test_one_entity_more_or_another_value_is_another_series(files, key):
    field = key in ("space", "res", "den", "desc")
    value = "b" + ((getattr(files, key) if field else files.entities.get(key)) or "")
    entities = files.entities if field else {**files.entities, key: value}
    other = replace(files, entities=entities, **({key: value} if field else {}))
    assert other.timeseries != files.timeseries
    assert other.relmat != files.relmat


def test_group_files_carry_the_label():
    files = GroupFiles(Path("out"), "fmmtc")
    assert files.predictions == Path("out/group/group_desc-fmmtc_predictions.tsv")
    assert files.report == Path("out/group/group_desc-fmmtc_report.html")
    assert files.bundle_dir == Path("out/models/fmmtc")


def test_atlas_files_leave_res_out_where_the_source_had_none():
    image, table, sidecar = atlas_files(Path("out"), "MNI152NLin6Asym", "A424", None)
    stem = "out/tpl-MNI152NLin6Asym/tpl-MNI152NLin6Asym_atlas-A424_dseg"
    assert (image, table, sidecar) == tuple(Path(stem + e) for e in (".nii.gz", ".tsv", ".json"))


def test_a_bids_uri_names_the_dataset_and_the_path_within():
    assert bids_uri(Path("/d/sub-01/a.tsv"), Path("/d"), "fmriprep") == "bids:fmriprep:sub-01/a.tsv"


@pytest.mark.parametrize("space", ["MNI152NLin6Asym", "MNIInfant:cohort-2"])
def test_template_and_cohort_together_are_the_space_in_every_name(tmp_path, space):
    template, _, cohort = space.partition(":cohort-")
    run = RunFiles(tmp_path, {"sub": "01", "task": "rest"}, space, "Toy", "simple", "2")
    for path in (run.timeseries, run.uncleaned, run.relmat, run.coverage, run.qc, run.figure("x")):
        entities = parse_name(path).entities
        assert entities["space"] == template
        assert entities.get("cohort", "") == cohort
        assert space_of(entities) == space
    for path in atlas_files(tmp_path, space, "Toy"):
        assert space_of(parse_name(path).entities) == space
    assert space_of({"sub": "01"}) is None
