"""What the report says of explanations, against maps with a planted truth."""

from __future__ import annotations

import re
from shutil import copyfile

import numpy as np
import pandas as pd
import pytest
from explained_analysis import NAMES, TOLD, write_demo_labels, write_explanation

from fmmtc_bidsapp.bidsio.atlases.a424 import IMAGE, read_parcels
from fmmtc_bidsapp.bidsio.files.names import GroupFiles, atlas_files
from fmmtc_bidsapp.bidsio.files.tsv import write_tsv
from fmmtc_bidsapp.records.verdict import NO_EVIDENCE
from fmmtc_bidsapp.reports.pages.group_explanation import explanation_section
from fmmtc_bidsapp.reports.pages.render import render_part
from fmmtc_bidsapp.reports.text.explanation_data import z_limit
from fmmtc_bidsapp.reports.text.explanation_tables import (
    edge_rows,
    parcel_rows,
    share_sentences,
    z_sentences,
)
from fmmtc_bidsapp.reports.text.explanation_trust import trust_rows

PLANTED = {"series": "DemoNetwork2", "connectivity": "DemoNetwork1"}
LINEAR = ("fc-logistic",)
FIGURES = ("shares", "glass", "slices", "networks", "glass_beside")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained") / "out"
    return folder, write_demo_labels(folder)


@pytest.fixture(scope="module")
def whole(root):
    return explanation_section(write_explanation(*root, PLANTED, label="whole"))


def rendered(section) -> str:
    return str(render_part("explanation.html.jinja", "explanation", section))


def words(html: str) -> str:
    """The text of a page without its figures, in one line."""
    bare = re.sub(r"<[^>]+>", " ", re.sub(r"<svg.*?</svg>", " ", html, flags=re.DOTALL))
    return re.sub(r"\s+", " ", bare)


def test_where_nothing_was_explained_there_is_no_section(tmp_path):
    assert explanation_section(GroupFiles(tmp_path, "L")) == {}


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("no evidence of prediction", "There is no evidence that FMM_TC predicts."),
        ("not tested", "Whether FMM_TC predicts was not tested."),
    ],
)
def test_held_back_there_is_one_box_with_the_reason_and_the_flag_and_nothing_else(root, why, said):
    files = write_explanation(*root, PLANTED, label="held", HeldBack=why, Supported=False)
    section = explanation_section(files)
    assert set(section) == {"held_back", "flag_helps"}
    html = rendered(section)
    assert said in html
    assert "--show-unsupported-maps" in html
    assert html.count("<div") == 1
    assert "<svg" not in html
    assert "<table" not in html


def test_of_maps_that_could_not_be_computed_no_flag_is_promised(root):
    why = "it could not be computed (InputError: x)"
    section = explanation_section(write_explanation(*root, PLANTED, label="f", HeldBack=why))
    assert "--show-unsupported-maps" not in rendered(section)
    assert "It could not be computed (InputError: x)." in rendered(section)


def test_every_part_is_there(whole):
    assert all("<svg" in whole[name] for name in FIGURES)
    assert [each["title"] for each in whole["edges"]] == [
        "FMM_TC: connectivity",
        "FC-logistic: Haufe pattern",
    ]
    html = rendered(whole)
    for heading in (
        "Share of each stream", "Reliability of the maps",
        "Parcels that FMM_TC uses", "Networks</h3>", "Edges: FMM_TC: connectivity",
        "Other models: FC-logistic",
    ):  # fmt: skip
        assert heading in html
    assert NO_EVIDENCE not in html


def test_the_section_is_small(whole):
    assert len(rendered(whole)) < 2_000_000


def test_no_two_figures_share_an_id(whole):
    ids = re.findall(r'\bid="([^"]+)"', rendered(whole))
    assert len(ids) == len(set(ids))


def test_the_planted_networks_lead_the_tables(whole):
    for table, source in zip(whole["groups"], ("series", "connectivity"), strict=False):
        networks = [row for row in table["rows"] if row["level"] == "network"]
        first = max(networks, key=lambda row: float(row["amount"]))
        assert first["name"] == PLANTED[source]
    top = whole["edges"][0]["rows"]
    assert len(top) == 20
    within = [row for row in top if row["networks"] == f"within {PLANTED['connectivity']}"]
    assert len(within) > 10


def test_unsupported_every_figure_carries_the_words_and_the_section_begins_with_the_warning(root):
    files = write_explanation(*root, PLANTED, label="un", Supported=False)
    section = explanation_section(files)
    figures = [section[name] for name in FIGURES] + [each["figure"] for each in section["edges"]]
    assert all(figure.count(NO_EVIDENCE) == 1 for figure in figures)
    html = rendered(section)
    assert words(html).strip().startswith("No evidence of prediction")
    assert html.index("notice") < html.index("<svg")


def test_without_maps_the_shares_are_shown_with_how_to_get_maps(root):
    section = explanation_section(write_explanation(*root, PLANTED, label="few", maps=False))
    said = words(rendered(section))
    assert "36 % of |attribution| is of the time series" in said
    assert "No maps of FMM_TC: maps of a network are computed with --explain parcels." in said
    assert "Which parcels" not in said
    assert not section["glass"]


def test_without_places_there_are_tables_and_a_word_in_place_of_brains(tmp_path, root):
    files = write_explanation(tmp_path, root[1], PLANTED)
    section = explanation_section(files)
    assert not section["glass"]
    html = rendered(section)
    assert "no brain is drawn" in html
    assert "The 20 strongest edges" in html


def test_a_linear_model_alone_has_its_pattern(root):
    files = write_explanation(*root, PLANTED, label="linear", models=LINEAR)
    section = explanation_section(files)
    assert section["glass"] == ""
    assert "<svg" in section["glass_beside"]
    assert "Which parcels FMM_TC" not in rendered(section)


def test_names_are_escaped(root):
    folder, parcels = root
    named = parcels.assign(name=["<b>" + name for name in parcels["name"]])
    files = write_explanation(folder, named, PLANTED, label="escaped", models=LINEAR)
    assert "<b>" not in rendered(explanation_section(files))


def test_a_map_is_put_where_its_parcels_are_and_not_in_the_order_of_the_file(root):
    files = write_explanation(*root, PLANTED, label="order", models=LINEAR)
    before = explanation_section(files)["glass_beside"]
    table = pd.read_csv(files.attributions, sep="\t")
    table[::-1].to_csv(files.attributions, sep="\t", index=False, na_rep="n/a")
    assert explanation_section(files)["glass_beside"] == before


@pytest.mark.parametrize(
    ("rho", "said"),
    [
        (0.31, "folds disagree: do not interpret single parcels"),
        (0.5, "folds agree in part: interpret networks rather than single parcels"),
        (0.9, "folds agree"),
    ],
)
def test_stability_is_told_in_words(rho, said):
    about = {"Stability": {"series": {"Spearman": rho, "TopDecileJaccard": 0.1}}}
    (row,) = trust_rows({"fmmtc": about}, NAMES, {})
    assert row["words"] == said
    assert row["value"] == f"Spearman {rho:.2f}, Jaccard of the top tenth 0.10"


def test_a_check_that_was_not_made_has_no_row():
    unknown = {"Stability": {"series": {"Spearman": None, "TopDecileJaccard": None}}}
    assert trust_rows({"fmmtc": unknown}, NAMES, {}) == []
    assert trust_rows({"fmmtc": {"Agreement": {"mean": None}}}, NAMES, {}) == []


def test_integrals_that_are_not_complete_are_counted():
    rows = {row["what"]: row for row in trust_rows({"fmmtc": TOLD["fmmtc"]}, NAMES, {})}
    assert rows["Convergence of the integral"]["value"] == "54 of 56 maps, 256 steps at most"
    assert "left out" in rows["Convergence of the integral"]["words"]
    assert "few" in rows["Maps of shuffled outcomes"]["words"]


def test_parcels_beyond_chance_are_counted_beside_what_chance_gives():
    z = np.concatenate([np.full(12, 2.5), np.full(188, 0.5), [np.nan]])
    (sentence,) = z_sentences({"A": (pd.DataFrame({"z": z}), 20)})
    assert "12 of 200 parcels exceed |z| = 2.14 relative to 20 maps" in sentence
    assert "about 10 are expected by chance (uncorrected)" in sentence
    assert z_sentences({"A": (pd.DataFrame({"z": [np.nan]}), 20)}) == []
    assert z_sentences({"A": (pd.DataFrame({"z": z}), None)}) == []


@pytest.mark.parametrize("n", [5, 20, 99])
def test_beyond_the_limit_of_z_lies_one_in_twenty_whatever_the_number_of_null_maps(n):
    draws = np.random.default_rng(0).normal(size=(100_000, n + 1))
    z = (draws[:, 0] - draws[:, 1:].mean(axis=1)) / draws[:, 1:].std(axis=1, ddof=1)
    assert (np.abs(z) > z_limit(n)).mean() == pytest.approx(0.05, abs=0.003)


@pytest.mark.parametrize("n", [None, 0, 1, np.nan])
def test_without_two_null_maps_nothing_stands_out(n):
    assert z_limit(n) == np.inf


def test_a_map_without_values_is_left_out_and_named_and_the_rest_is_there(root):
    files = write_explanation(*root, PLANTED, label="dead")
    table = pd.read_csv(files.attributions, sep="\t")
    dead = table["model"] == "fmmtc"
    table.loc[dead, ["attribution", "signed", "low", "high", "z"]] = np.nan
    table.loc[dead & (table["source"] == "connectivity"), "attribution"] = 0.0
    table.to_csv(files.attributions, sep="\t", index=False, na_rep="n/a")
    shares = pd.read_csv(files.modality, sep="\t")
    shares[["share", "low", "high"]] = np.nan
    shares.to_csv(files.modality, sep="\t", index=False, na_rep="n/a")
    section = explanation_section(files)
    said = words(rendered(section))
    assert section["shares"] == section["glass"] == section["slices"] == ""
    assert "<svg" in section["glass_beside"]
    assert "There is no map of FMM_TC, time series: every attribution is 0 or not known" in said
    assert "There is no map of FMM_TC, connectivity:" in said
    assert "The stream shares of FMM_TC are not known" in said


@pytest.mark.parametrize("level", ["network", "edge"])
def test_a_level_without_values_is_named_and_kills_nothing(root, level):
    files = write_explanation(*root, PLANTED, label="level", models=LINEAR)
    table = pd.read_csv(files.attributions, sep="\t")
    table.loc[table["level"] == level, "attribution"] = np.nan
    table.to_csv(files.attributions, sep="\t", index=False, na_rep="n/a")
    section = explanation_section(files)
    assert f"Of FC-logistic, connectivity, no {level} has a value." in rendered(section)
    assert "<svg" in section["glass_beside"]


def test_maps_are_joined_to_the_brain_by_name_and_not_by_number(root):
    folder, parcels = root
    right = write_explanation(folder, parcels, PLANTED, label="right", models=LINEAR)
    drawn = explanation_section(right)
    # The places in the series, as of an atlas whose table gives no labels.
    numbered = parcels.assign(index=np.arange(len(parcels), 0, -1))
    section = explanation_section(
        write_explanation(folder, numbered, PLANTED, label="numbered", models=LINEAR)
    )
    assert section["glass_beside"] == drawn["glass_beside"]
    assert section["edges"][0]["figure"] == drawn["edges"][0]["figure"]
    assert section["edges"][0]["rows"] == drawn["edges"][0]["rows"]


def test_parcels_whose_names_are_not_in_the_table_are_not_drawn(root):
    folder, parcels = root
    strangers = parcels.assign(name=[f"node {i}" for i in range(len(parcels))])
    section = explanation_section(write_explanation(folder, strangers, PLANTED, label="strange"))
    assert section["glass"] == section["slices"] == section["glass_beside"] == ""
    assert all(not each["figure"] for each in section["edges"])
    assert "No parcel of the maps is named" in rendered(section)


def test_labels_that_cannot_be_read_take_the_slices_alone(tmp_path):
    parcels = write_demo_labels(tmp_path)
    image = next(tmp_path.glob("tpl-*/*.nii.gz"))
    image.write_bytes(image.read_bytes()[:2000])
    section = explanation_section(write_explanation(tmp_path, parcels, PLANTED))
    assert "<svg" in section["glass"]
    assert section["slices"] == ""
    assert "cannot be read as an image" in rendered(section)


@pytest.mark.parametrize("told", [{"Supported": None}, {"Supported": "yes"}])
def test_maps_that_are_not_said_to_be_supported_carry_the_watermark(root, told):
    files = write_explanation(*root, PLANTED, label="unsaid", models=LINEAR, **told)
    assert NO_EVIDENCE in explanation_section(files)["glass_beside"]


def test_what_was_explained_of_a_study_is_the_first_row_of_trust(whole):
    first = whole["trust"][0]
    assert first["what"] == "What was explained"
    assert first["value"] == "training: the first of 5, repeat: the only one, folds: 5 of 5"
    assert "the others were not explained" in first["words"]
    assert "first window of the first run" in first["words"]


def test_folds_that_failed_are_told():
    about = {"Folds": "4 of 5", "Method": "Haufe pattern"}
    (row,) = trust_rows({"fmmtc": about}, NAMES, {"Training": "the first of 1"})
    assert row["value"] == "training: the only one, folds: 4 of 5"
    assert "their people are not in the maps" in row["words"]


def test_of_how_many_people_the_baselines_agree_is_said(whole):
    rows = {row["what"]: row for row in whole["trust"]}
    assert rows["Baseline zero against the mean training person"]["value"] == (
        "Spearman 0.81, of 15 people"
    )


def test_every_table_saves_the_written_one_where_there_is_one(whole):
    html = rendered(whole)
    n = len(whole["parcels"]) + len(whole["groups"]) + len(whole["edges"])
    assert html.count('data-written="attributions"') == n
    assert html.count('data-written="modality"') == 1
    assert html.count("<table") == n + 2


def test_a_linear_main_model_is_not_said_to_go_by_its_pattern(root):
    pattern = {"fmmtc": {**TOLD["fc-logistic"]}, "fc-logistic": TOLD["fc-logistic"]}
    said = words(rendered(explanation_section(
        write_explanation(*root, PLANTED, label="svm", Models=pattern)
    )))  # fmt: skip
    assert "Parcels that vary with the prediction of FMM_TC" in said
    assert "Parcels that FMM_TC uses" not in said


def a_row(**changes) -> dict:
    return {
        "name": "P", "attribution": 0.5, "signed": 0.2, "low": 0.4, "high": 0.6,
        "sign_consistency": 0.8, "z": np.nan, **changes,
    }  # fmt: skip


def test_a_parcel_is_told_as_a_multiple_of_the_average():
    rows = pd.DataFrame([a_row(name="A", attribution=0.1), a_row(name="B", attribution=0.3)])
    first, second = parcel_rows(rows, 2.14)
    assert (first["name"], first["amount"]) == ("B", "1.50")
    assert (second["name"], second["amount"]) == ("A", "0.50")


@pytest.mark.parametrize(
    ("changes", "column", "said"),
    [
        ({"signed": -0.1}, "outcome", "other"),
        ({"signed": np.nan}, "outcome", "n/a"),
        ({"sign_consistency": np.nan}, "consistency", "n/a"),
        ({"z": 2.0}, "z", "2.00 *"),
        ({"z": -1.0}, "z", "−1.00"),
        ({"low": np.nan}, "interval", ""),
    ],
)
def test_what_is_not_known_of_a_parcel_is_not_made_up(changes, column, said):
    (row,) = parcel_rows(pd.DataFrame([a_row(**changes)]), 1.9)
    assert row[column] == said


def test_an_edge_without_known_networks_has_none():
    (row,) = edge_rows(pd.DataFrame([a_row(index=1, other=2, attribution=0.00123)]), None, 2.0)
    assert row["amount"] == "0.123"
    assert row["networks"] == "within n/a"


def test_a_share_is_told_with_its_interval():
    shares = pd.DataFrame(
        [
            {"model": "m", "modality": "series", "share": 0.3, "low": 0.25, "high": 0.35,
             "fold_sd": 0.02, "n": 40},
            {"model": "m", "modality": "connectivity", "share": 0.7, "low": 0.65, "high": 0.75,
             "fold_sd": 0.02, "n": 40},
        ]
    )  # fmt: skip
    (sentence,) = share_sentences(shares, {"m": "M", "other": "Other"})
    assert sentence.startswith(
        "M: 30 % of |attribution| is of the time series (95 % interval 25 to"
    )
    assert "over 40 people" in sentence


@pytest.mark.slow
def test_the_real_atlas_can_be_drawn(shared, tmp_path):
    source = shared / "data" / "atlas"
    found = read_parcels(source)
    image, table, _ = atlas_files(tmp_path, "MNI152NLin6Asym", "A424", "02")
    image.parent.mkdir()
    copyfile(source / IMAGE, image)
    columns = {
        "index": np.arange(1, 425), "name": found.names, "network": found.networks,
        "subnetwork": found.subnetworks, **dict(zip("xyz", found.coordinates_mm.T, strict=True)),
    }  # fmt: skip
    write_tsv(table, columns)
    planted = {"series": "Visual", "connectivity": "Default Mode"}
    files = write_explanation(tmp_path, pd.DataFrame(columns), planted, atlas="A424")
    html = rendered(explanation_section(files))
    assert "L_V1" in html
    assert len(html) < 2_000_000


LOST = {
    "auroc_lost": [0.02, 0.21], "auroc_lost_low": [-0.05, 0.1], "auroc_lost_high": [0.09, 0.32],
}  # fmt: skip
NULL = {"null_share": [0.8, 0.2], "null_low": [0.7, 0.1], "null_high": [0.9, 0.3], "n_null": 20}


def stream_shares(**columns) -> pd.DataFrame:
    shares = {"share": [0.75, 0.25], "low": [0.7, 0.2], "high": [0.8, 0.3], "fold_sd": 0.02}
    return pd.DataFrame(
        {"model": "m", "modality": ["series", "connectivity"], "n": 40, **shares, **columns}
    )


def test_what_the_auroc_loses_without_a_stream_is_said_before_the_shares():
    first, second = share_sentences(stream_shares(**LOST, **NULL), {"m": "M"})
    assert "falls by 0.21 (0.10 to 0.32) with the connectivity replaced" in first
    assert "by 0.02 (−0.05 to 0.09) with the time series replaced" in first
    assert "In 20 fits to shuffled outcomes the time series have 80 % (70 to 90 %)" in second
    assert "the share is within this range" in second


def test_an_auroc_that_is_higher_without_a_stream_is_said_to_rise():
    gained = {"auroc_lost": [-0.12, 0.3], "auroc_lost_low": [-0.4, 0.1], "auroc_lost_high": 0.5}
    first, _ = share_sentences(stream_shares(**gained), {"m": "M"})
    assert "falls by 0.30 (0.10 to 0.50) with the connectivity" in first
    assert "and rises by 0.12 (−0.50 to 0.40) with the time series" in first


def test_a_share_outside_of_those_of_shuffled_outcomes_is_called_so():
    (only,) = share_sentences(
        stream_shares(**{**NULL, "null_low": 0.1, "null_high": 0.3}), {"m": "M"}
    )
    assert "is outside this range" in only


def test_a_share_without_fits_to_shuffled_outcomes_is_called_no_evidence():
    (only,) = share_sentences(stream_shares(), {"m": "M"})
    assert "a share is not evidence" in only


def test_attention_maps_of_an_earlier_version_are_passed_over(root, whole):
    files = write_explanation(*root, PLANTED, label="earlier")
    table = pd.read_csv(files.attributions, sep="\t", keep_default_na=False)
    series = table[(table["model"] == "fmmtc") & (table["source"] == "series")]
    old = pd.concat([table, series.assign(source="rollout", signed="n/a", z="n/a")])
    old.to_csv(files.attributions, sep="\t", index=False)
    assert words(rendered(explanation_section(files))) == words(rendered(whole)).replace(
        "desc-whole", "desc-earlier"
    )
