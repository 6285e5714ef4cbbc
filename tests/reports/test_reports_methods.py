from __future__ import annotations

import re
import shutil
import stat
from dataclasses import replace
from importlib.metadata import version

import pytest

from fmmtc_bidsapp.bidsio.files.atomic import write_json
from fmmtc_bidsapp.bidsio.files.names import GroupFiles, atlas_description
from fmmtc_bidsapp.reports.data.bibliography import (
    boilerplate_dir,
    cited_keys,
    references,
    spell_citations,
)
from fmmtc_bidsapp.reports.data.outputs import read_json
from fmmtc_bidsapp.reports.pages.participant import write_participant_report
from fmmtc_bidsapp.reports.pages.render import methods_html
from fmmtc_bidsapp.reports.text.methods import (
    group_methods,
    methods_sections,
    participant_methods,
    write_citation,
)
from fmmtc_bidsapp.reports.text.processing_summary import REGRESSOR_KEYS, regressors_in_words
from fmmtc_bidsapp.signals.denoising.strategies import STRATEGIES_TABLE


def test_templates_and_strategies_cite_only_what_is_known_and_nothing_lies_unused():
    templates = boilerplate_dir().glob("*.jinja")
    cited = {key for path in templates for key in cited_keys(path.read_text())}
    strategies = {key for each in STRATEGIES_TABLE.values() for key in each.references}
    assert cited | strategies | REGRESSOR_KEYS == set(references())


def test_every_entry_of_the_bibliography_is_parsed_whole():
    text = (boilerplate_dir() / "references.bib").read_text()
    assert len(references()) == text.count("\n@") + 1
    for entry in references().values():
        assert {"author", "title", "year"} <= set(entry.fields)
        assert entry.venue


def test_citations_are_spelt_with_authors_and_year():
    assert (
        spell_citations("A [@akiki2019; @he2016].")
        == "A (Akiki and Abdallah 2019; He et al. 2016)."
    )


def test_what_was_not_applied_is_not_described(write_a_run):
    write_a_run.run(desc="none")
    text = participant_methods(write_a_run.root)
    assert "neither filtered nor smoothed. No confound was regressed out." in text
    for word in (
        "censored",
        "Butterworth",
        "Regressed out",
        "TemplateFlow",
        "resampling",
        "Fisher",
    ):
        assert word not in text


def test_cleaning_is_told_from_the_sidecar(write_a_run):
    write_a_run.run()
    text = participant_methods(write_a_run.root)
    assert "`simple` (motion parameters, white matter, CSF and cosines) [@friston1996]" in text
    assert "Volumes before the steady state were dropped." in text
    assert "displacement above 0.5 mm were censored [@power2014] (median 8 % of a run)" in text
    assert "standardised DVARS" not in text
    assert "0.01 to 0.08 Hz were kept" in text
    assert (
        "Regressed out, in retained volumes: 12 motion parameters, the mean white matter signal, "
        "the mean CSF signal and 2 cosines of slow drift." in text
    )
    assert "leaves 17 degrees of freedom" in text


def test_a_reference_of_a_users_strategy_that_nobody_knows_is_left_out(write_a_run):
    write_a_run.run()
    assert (
        "not2know"
        in read_json(next(write_a_run.root.rglob("*simple_timeseries.json")))["CleaningReferences"]
    )
    assert "not2know" not in participant_methods(write_a_run.root)


def test_regressors_are_summed_up_over_runs():
    motion = [f"{k}_{x}{s}" for k in ("trans", "rot") for x in "xyz" for s in
              ("", "_derivative1", "_power2", "_derivative1_power2")]  # fmt: skip
    runs = [
        [*motion, "cosine00", "cosine01", "a_comp_cor_00", "my_own"],
        [*motion, "cosine00", "a_comp_cor_00"],
    ]
    assert regressors_in_words(runs) == (
        "24 motion parameters, the aCompCor component [@behzadi2007], "
        "1 to 2 cosines of slow drift and the columns `my_own`"
    )
    assert regressors_in_words([[], []]) == ""


def test_a_transform_is_named_with_templateflow(write_a_run):
    told = {"AtlasTransform": "tpl-A_from-B_xfm.h5", "AtlasSpace": "MNI152NLin6Asym"}
    write_a_run.run(sidecar=told | {"AtlasResampling": "nearest through tpl-A_from-B_xfm.h5"})
    text = participant_methods(write_a_run.root)
    assert "TemplateFlow's nonlinear transform" in text
    assert "`tpl-A_from-B_xfm.h5`" in text
    assert "[@ciric2022]" in text


def test_labels_on_another_grid_are_resampled_and_nothing_is_said_of_templateflow(write_a_run):
    write_a_run.run(sidecar={"AtlasResampling": "nearest"})
    text = participant_methods(write_a_run.root)
    assert "resampled to the grid of the data (nearest neighbour)" in text
    assert "ciric2022" not in text


def test_partial_correlation_and_fishers_z_are_told(write_a_run):
    files = replace(write_a_run.run(), measure="partial-correlation")
    plain = replace(files, measure="correlation").relmat
    plain.rename(files.relmat)
    write_json(files.relmat.with_suffix(".json"), {"FisherZ": True})
    text = participant_methods(write_a_run.root)
    assert "partial correlation between two parcel series" in text
    assert "[@ledoit2004]" in text
    assert "and transformed to Fisher's z" in text


def test_two_cleanings_each_have_a_paragraph(write_a_run):
    write_a_run.run()
    write_a_run.run(desc="none")
    text = participant_methods(write_a_run.root)
    assert "cleaned as `simple`" in text
    assert "As `none`, the parcel series were neither filtered nor smoothed." in text
    assert "(1 run)" in text  # one image, cleaned twice
    assert text.count("Each image was reduced") == 1


def test_versions_are_those_that_are_installed(write_a_run):
    write_a_run.run()
    assert f"nilearn {version('nilearn')} [@abraham2014]" in participant_methods(write_a_run.root)


def test_an_atlas_that_is_not_a424_is_not_given_its_references(write_a_run):
    text = participant_methods(write_a_run(atlas="generated"))
    assert "akiki2019" not in text
    assert "not the A424 atlas" in text


def test_the_analysis_text_follows_the_options(write_a_group):
    root = write_a_group.train()
    sidecar = GroupFiles(root, "L").metrics.with_suffix(".json")
    about = read_json(sidecar)
    assert "pre-trained BrainLM encoder" in group_methods(root, "L")
    assert "platt1999" in group_methods(root, "L")
    nested = {"model": {"encoder": "random"}, "evaluation": {"calibration": "none"}}
    write_json(sidecar, about | {"Options": nested})
    text = group_methods(root, "L")
    assert "random weights" in text
    assert "not calibrated" in text
    assert "platt1999" not in text


def test_applying_a_model_claims_no_training(write_a_group):
    text = group_methods(write_a_group.apply(n=6), "L")
    assert "applied without refitting (analysis L) to 6 people" in text
    assert "cross-validation" not in text


def test_the_citation_file_lists_exactly_what_its_text_cites(write_a_run, write_a_group):
    root = write_a_run()
    write_a_group.train("one")
    write_citation(root)
    text = (root / "logs" / "CITATION.md").read_text()
    listed = re.findall(r"@\w+\{(\w+),", (root / "logs" / "CITATION.bib").read_text())
    both = participant_methods(root) + group_methods(root, "one")
    assert listed == cited_keys(both)
    assert "## Analysis one" in text
    assert "[@" not in text


def a_program(folder, text):
    path = folder / "pandoc"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_html_and_latex_come_from_pandoc_where_it_is(write_a_run, tmp_path, monkeypatch):
    a_program(tmp_path, 'cat > /dev/null; echo "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    write_citation(write_a_run())
    logs = write_a_run.root / "logs"
    assert "--to=html" in (logs / "CITATION.html").read_text()
    assert f"--bibliography={logs / 'CITATION.bib'}" in (logs / "CITATION.tex").read_text()


def test_without_pandoc_there_is_markdown_and_bibtex_alone(write_a_run, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    write_citation(write_a_run())
    names = {path.name for path in (write_a_run.root / "logs").iterdir()}
    assert names == {"CITATION.md", "CITATION.bib"}


def test_a_pandoc_that_fails_is_a_line_of_warning(write_a_run, tmp_path, monkeypatch, capsys):
    a_program(tmp_path, "cat > /dev/null; echo no citeproc here >&2; exit 83")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    write_citation(write_a_run())
    assert "Warning: pandoc did not convert the methods text (no citeproc here" in (
        capsys.readouterr().err
    )
    assert not (write_a_run.root / "logs" / "CITATION.html").exists()


@pytest.mark.skipif(shutil.which("pandoc") is None, reason="pandoc is not installed")
def test_the_real_pandoc_resolves_every_citation(write_a_run):
    write_citation(write_a_run())
    text = (write_a_run.root / "logs" / "CITATION.html").read_text()
    assert "10.1038/s41592-018-0235-4" in text
    assert "@esteban2019" not in text
    assert "???" not in text
    assert r"\begin{document}" in (write_a_run.root / "logs" / "CITATION.tex").read_text()


def test_names_of_columns_are_text_and_never_markup(write_a_group):
    root = write_a_group.train()
    sidecar = GroupFiles(root, "L").metrics.with_suffix(".json")
    target = "re<img src=x>_a_ [@nobody] `c` {=html} \\x"
    write_json(sidecar, read_json(sidecar) | {"Target": target})
    text = group_methods(root, "L")
    assert r"re\<img src=x\>\_a\_ \[\@nobody\] \`c\` \{=html\} \\x" in text
    assert "re&lt;img src=x&gt;_a_ [@nobody] `c` {=html} \\x" in str(methods_html(text))


def test_the_encoder_is_described_where_something_was_encoded(write_a_group):
    root = write_a_group.train()
    sidecar = GroupFiles(root, "L").metrics.with_suffix(".json")
    for encoder, there in (("random", True), ("none", False)):
        options = {"encoder": encoder, "calibration": "isotonic"}
        about = {"MainModel": "ridge-encoder", "Options": options}
        write_json(sidecar, read_json(sidecar) | about)
        text = group_methods(root, "L")
        assert ("with random weights" in text) == there
        assert "calibrated by isotonic regression" in text


@pytest.mark.skipif(shutil.which("pandoc") is None, reason="pandoc is not installed")
def test_the_real_pandoc_passes_no_markup_of_users_on(write_a_group):
    root = write_a_group.train()
    sidecar = GroupFiles(root, "L").metrics.with_suffix(".json")
    write_json(sidecar, read_json(sidecar) | {"Target": r"<img src=x> \input{y}"})
    write_citation(root)
    assert "<img src=x" not in (root / "logs" / "CITATION.html").read_text()
    assert r"\input{y}" not in (root / "logs" / "CITATION.tex").read_text()


NASTY = "<script>alert(1)</script> *x*_y_ [@nobody] `c` {=html} {{ it }} {0} $a$ \\input{z} </svg>"
ENDS_CODE = "my`_<b>own"


@pytest.fixture
def nasty_run(write_a_run):
    """A run whose strategy, atlas and a regressor were named by someone with too much time."""
    told = {
        "CleaningTitle": NASTY,
        "CleaningNotes": [NASTY],
        "ConfoundRegressors": ["csf", ENDS_CODE, "plain_column"],
        "AtlasTransform": ENDS_CODE,
        "AtlasSpace": NASTY,
    }
    files = write_a_run.run(atlas="Mine", sidecar=told, quality={"reasons": NASTY})
    write_json(atlas_description(write_a_run.root, "Mine"), {"Name": NASTY, "Description": NASTY})
    return files


def test_what_users_name_in_a_strategy_or_an_atlas_is_text_and_never_markup(nasty_run):
    text = participant_methods(nasty_run.output_dir)
    assert cited_keys(text) == sorted(set(cited_keys(text)) & set(references()))
    assert text.count(r"\<script\>alert(1)\</script\> \*x\*\_y\_ \[\@nobody\] \`c\` \{=html\}") == 3
    assert "<script>" not in text
    assert r"the columns my\`\_\<b\>own, `plain_column`" in text
    page = str(methods_html(text))
    assert "&lt;script&gt;alert(1)&lt;/script&gt; *x*_y_ [@nobody] `c` {=html} {{ it }}" in page
    assert "my`_&lt;b&gt;own, <code>plain_column</code>" in page


def test_nothing_that_users_name_becomes_markup_in_a_report(nasty_run):
    page = write_participant_report(
        nasty_run.output_dir, "sub-01", problems=[(NASTY, NASTY)]
    ).read_text()
    assert "<script>" not in page
    assert "<b>own" not in page
    # Strategy, atlas and its description, note, reason, what failed, and the methods.
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 8
    assert "{{ it }} {0}" in page


@pytest.mark.skipif(shutil.which("pandoc") is None, reason="pandoc is not installed")
def test_the_real_pandoc_shows_what_users_name_as_it_is(nasty_run):
    write_citation(nasty_run.output_dir)
    logs = nasty_run.output_dir / "logs"
    page = " ".join((logs / "CITATION.html").read_text().split())
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; *x*_y_ [@nobody] `c` {=html} {{ it }}" in page
    assert "my`_&lt;b&gt;own, <code>plain_column</code>" in page
    assert r"\input{z}" not in (logs / "CITATION.tex").read_text()


def test_every_analysis_has_a_section_and_an_empty_dataset_none(
    write_a_run, write_a_group, tmp_path
):
    root = write_a_run()
    write_a_group.train("one")
    write_a_group.train("two")
    titles = ["Parcel series and connectivity", "Analysis one", "Analysis two"]
    assert list(methods_sections(root)) == titles
    assert methods_sections(tmp_path / "nothing") == {}


def test_who_had_no_value_of_a_covariate_that_was_regressed_out_is_counted(write_a_group):
    root = write_a_group.train()
    sidecar = GroupFiles(root, "L").metrics.with_suffix(".json")
    about = read_json(sidecar)
    options = {"cohort": {"covariates": ["age", "se_x"], "adjust": True}}
    told = {"Options": options, "N": 24, "MissingCovariates": {"age": 9, "se_x": 0}}
    write_json(sidecar, about | told)
    text = group_methods(root, "L")
    assert "regressed out" in text
    assert "Of the 24 people, 9 had no value of age" in text
    assert text.count("had no value of") == 1


def test_volumes_of_unknown_motion_and_signals_that_stayed_are_told(write_a_run):
    run = write_a_run.run()
    path = run.timeseries.with_suffix(".json")
    told = read_json(path)
    told |= {"FramewiseDisplacementThreshold": 0.5, "NumberOfVolumesOfUnknownMotion": 3}
    write_json(path, told | {"SignalColumns": ["signal__task"]})
    text = participant_methods(write_a_run.root)
    assert "above 0.5 mm, and those whose motion is unknown, were censored" in text
    assert "after removing from them what they share with `signal__task`." in text
