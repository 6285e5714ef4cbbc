from __future__ import annotations

import re

from fmmtc_bidsapp.bidsio.names import GroupFiles
from fmmtc_bidsapp.bidsio.write import write_json
from fmmtc_bidsapp.reports.bibliography import (
    boilerplate_dir,
    cited_keys,
    references,
    spell_citations,
)
from fmmtc_bidsapp.reports.methods import group_methods, participant_methods, write_citation
from fmmtc_bidsapp.reports.written import read_json


def test_every_template_cites_only_what_the_bibliography_has_and_nothing_lies_unused():
    templates = boilerplate_dir().glob("*.jinja")
    cited = {key for path in templates for key in cited_keys(path.read_text())}
    assert cited == set(references())


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


def test_only_what_was_applied_is_described(write_a_run):
    root = write_a_run()
    plain = participant_methods(root)
    assert "neither filtered nor smoothed" in plain
    assert "No confound was regressed out" in plain
    sidecar = next(root.rglob("*_timeseries.json"))
    write_json(sidecar, read_json(sidecar) | {"ConfoundRegressors": ["rot_x", "csf"]})
    assert "Confounds regressed out: rot_x, csf." in participant_methods(root)


def test_an_atlas_that_is_not_a424_is_not_given_its_references(write_a_run):
    text = participant_methods(write_a_run(atlas=write_a_run.atlas("generated")))
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
    assert "applied as it is (analysis L) to 6 people" in text
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
