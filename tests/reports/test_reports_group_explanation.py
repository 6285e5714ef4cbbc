"""What the report says of explanations, against maps with a planted truth."""

from __future__ import annotations

import re
from shutil import copyfile

import numpy as np
import pandas as pd
import pytest
from explained_analysis import NAMES, TOLD, write_demo_labels, write_explanation

from fmmtc_bidsapp.bidsio.a424 import IMAGE, read_parcels
from fmmtc_bidsapp.bidsio.names import GroupFiles, atlas_files
from fmmtc_bidsapp.bidsio.write import write_tsv
from fmmtc_bidsapp.reports.explanation_tables import (
    edge_rows,
    parcel_rows,
    share_sentences,
    z_sentences,
)
from fmmtc_bidsapp.reports.explanation_trust import trust_rows
from fmmtc_bidsapp.reports.group_explanation import explanation_section
from fmmtc_bidsapp.reports.group_maps import NO_EVIDENCE
from fmmtc_bidsapp.reports.pages import render_part

PLANTED = {"series": "DemoNetwork2", "connectivity": "DemoNetwork1"}
LINEAR = ("fc-logistic",)
FIGURES = ("shares", "glass", "slices", "networks", "glass_beside", "rollout")


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
        "How much each stream carries", "How far to trust these maps",
        "Which parcels FMM_TC goes by", "Which networks", "Which edges: FMM_TC: connectivity",
        "Beside it: FC-logistic", "Attention rollout of the encoder",
    ):  # fmt: skip
        assert heading in html
    assert "Where the encoder looks, not why it predicts" in html
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
    assert "no brain to draw on" in html
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
        (0.31, "folds disagree: do not read single parcels"),
        (0.5, "folds agree in part: read networks rather than single parcels"),
        (0.9, "folds agree"),
    ],
)
def test_stability_is_told_in_words(rho, said):
    about = {"Stability": {"series": {"Spearman": rho, "TopDecileJaccard": 0.1}}}
    (row,) = trust_rows({"fmmtc": about}, NAMES)
    assert row["words"] == said
    assert row["value"] == f"Spearman {rho:.2f}, Jaccard of the top tenth 0.10"


def test_a_check_that_was_not_made_has_no_row():
    unknown = {"Stability": {"series": {"Spearman": None, "TopDecileJaccard": None}}}
    assert trust_rows({"fmmtc": unknown}, NAMES) == []
    assert trust_rows({"fmmtc": {"Agreement": {"mean": None}}}, NAMES) == []


def test_integrals_that_are_not_complete_are_counted():
    rows = {row["what"]: row for row in trust_rows({"fmmtc": TOLD["fmmtc"]}, NAMES)}
    assert rows["Convergence of the integral"]["value"] == "54 of 56 maps, 256 steps at most"
    assert "left out" in rows["Convergence of the integral"]["words"]
    assert "few" in rows["Maps of shuffled outcomes"]["words"]


def test_parcels_beyond_chance_are_counted_beside_what_chance_gives():
    z = np.concatenate([np.full(12, 2.5), np.full(188, 0.5), [np.nan]])
    (sentence,) = z_sentences({"A": pd.DataFrame({"z": z})})
    assert "12 of 200 parcels" in sentence
    assert "about 10 would do so by chance (uncorrected)" in sentence
    assert z_sentences({"A": pd.DataFrame({"z": [np.nan]})}) == []


def a_row(**changes) -> dict:
    return {
        "name": "P", "attribution": 0.5, "signed": 0.2, "low": 0.4, "high": 0.6,
        "sign_consistency": 0.8, "z": np.nan, **changes,
    }  # fmt: skip


def test_a_parcel_is_told_as_a_multiple_of_the_average():
    rows = pd.DataFrame([a_row(name="A", attribution=0.1), a_row(name="B", attribution=0.3)])
    first, second = parcel_rows(rows)
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
    (row,) = parcel_rows(pd.DataFrame([a_row(**changes)]))
    assert row[column] == said


def test_an_edge_without_known_networks_has_none():
    (row,) = edge_rows(pd.DataFrame([a_row(index=1, other=2, attribution=0.00123)]), None)
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
