"""Figures of maps against places that are known."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from explained_analysis import ATLAS, write_demo_labels
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.image import imread

from fmmtc_bidsapp.records.verdict import NO_EVIDENCE
from fmmtc_bidsapp.reports.data.group_places import Places, drawing_places, paint
from fmmtc_bidsapp.reports.figures.group_maps import (
    Glass,
    Slices,
    glass_figure,
    largest_amount,
    slices_figure,
    top_parcels,
)
from fmmtc_bidsapp.reports.figures.group_networks import (
    Bars,
    edges_figure,
    networks_figure,
    shares_figure,
)
from fmmtc_bidsapp.reports.figures.style import inline_svg

LEFT, BEHIND, ABOVE, RIGHT = range(4)
CORNERS_MM = np.array([[-40.0, 50, 20], [-40, -80, 0], [40, 50, 20], [40, -80, 0]])


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> Places:
    root = tmp_path_factory.mktemp("demo") / "out"
    write_demo_labels(root)
    found = drawing_places(root, ATLAS, {})
    assert found is not None
    return found


def four_places() -> Places:
    names = ("FL", "BL", "FR", "BR")
    return Places(
        names=names,
        index=np.arange(1, 5),
        networks=("Front", "Back") * 2,
        coordinates_mm=CORNERS_MM,
    )


def a_map(
    n: int, *, largest: int, direction: float = 1.0, z: float = np.nan, z_limit: float = 1.96
) -> Glass:
    amount = np.full(n, 0.5)
    amount[largest] = 4.0
    return Glass("A map", amount, np.full(n, direction), np.full(n, z), z_limit)


def drawn_large(figure: Figure, view: int) -> PathCollection:
    """Those drawn by size, which lie above the dots."""
    return max(figure.axes[view].collections, key=lambda each: each.get_zorder())


def texts(figure: Figure) -> list[str]:
    found = [text.get_text() for text in figure.texts]
    found += [text.get_text() for axes in figure.axes for text in axes.texts]
    return [each for each in found if each]


def test_the_middle_of_a_parcel_is_the_mean_place_of_its_voxels(places):
    volume = places.volume
    for row in (0, 7, len(places.names) - 1):
        voxels = np.argwhere(volume.labels == row + 1)
        middle = nib.affines.apply_affine(volume.image.affine, voxels).mean(axis=0)
        np.testing.assert_allclose(places.xyz_mm[row], middle, atol=1e-6)


def test_without_an_image_the_places_are_those_of_the_table(tmp_path):
    table = write_demo_labels(tmp_path / "out")
    next((tmp_path / "out").glob("tpl-*/*.nii.gz")).unlink()
    found = drawing_places(tmp_path / "out", ATLAS, {})
    assert found.volume is None
    np.testing.assert_allclose(found.xyz_mm, table[["x", "y", "z"]])


def test_an_atlas_that_is_not_in_the_dataset_has_no_places(tmp_path):
    assert drawing_places(tmp_path, "A424", {}) is None


def test_the_table_and_the_labels_are_those_that_the_sidecar_names(tmp_path):
    table = write_demo_labels(tmp_path)
    used = tmp_path / "used"
    used.mkdir()
    table.iloc[::-1].to_csv(used / "mine.tsv", sep="\t", index=False)
    image = next(tmp_path.glob("tpl-*/*.nii.gz"))
    image.rename(used / "mine.nii.gz")
    told = {"Table": "bids::used/mine.tsv", "Labels": "bids::used/mine.nii.gz"}
    found = drawing_places(tmp_path, ATLAS, told)
    assert found.names == tuple(table["name"][::-1])
    assert found.volume is not None
    assert drawing_places(tmp_path, ATLAS, {}).volume is None


def test_a_table_of_another_program_is_read_too(tmp_path):
    table = write_demo_labels(tmp_path)
    path = next(tmp_path.glob("tpl-*/*.tsv"))
    other = table[["index", "name", "network"]]
    other = other.rename(columns={"name": "label", "network": "network_label"})
    other.to_csv(path, sep="\t", index=False)
    found = drawing_places(tmp_path, ATLAS, {})
    assert found.names == tuple(table["name"])
    assert found.networks == tuple(table["network"])
    assert found.known


def test_labels_that_are_cut_off_leave_the_places_of_the_table_and_a_note(tmp_path):
    table = write_demo_labels(tmp_path)
    image = next(tmp_path.glob("tpl-*/*.nii.gz"))
    image.write_bytes(image.read_bytes()[:2000])
    found = drawing_places(tmp_path, ATLAS, {})
    assert found.volume is None
    assert "cannot be read as an image" in found.note
    np.testing.assert_allclose(found.xyz_mm, table[["x", "y", "z"]])


def test_the_largest_tenth_is_drawn_by_size_and_unknown_parcels_never():
    amount = np.arange(40.0)
    amount[39] = np.nan
    assert np.flatnonzero(top_parcels(amount)).tolist() == [35, 36, 37, 38]


@pytest.mark.parametrize(("largest", "seen_left"), [(0, True), (2, False)])
def test_a_parcel_is_seen_from_its_own_side_alone(largest, seen_left):
    figure = glass_figure([a_map(4, largest=largest)], four_places())
    assert len(drawn_large(figure, LEFT).get_offsets()) == seen_left
    assert len(drawn_large(figure, RIGHT).get_offsets()) == (not seen_left)
    assert len(drawn_large(figure, ABOVE).get_offsets()) == 1


def test_a_parcel_lies_where_a_reader_looks_for_it():
    figure = glass_figure([a_map(4, largest=0)], four_places())
    # The front of the left hemisphere: up and left from above, to the left from the left.
    np.testing.assert_allclose(drawn_large(figure, ABOVE).get_offsets(), [[-40, 50]])
    np.testing.assert_allclose(drawn_large(figure, LEFT).get_offsets(), [[50, 20]])
    assert figure.axes[ABOVE].get_xlim()[0] < figure.axes[ABOVE].get_xlim()[1]
    assert figure.axes[LEFT].get_xlim()[0] > figure.axes[LEFT].get_xlim()[1]


def test_the_brain_encloses_every_parcel_of_an_atlas_in_its_space(places):
    figure = glass_figure([a_map(len(places.names), largest=0)], places)
    low, high = figure.axes[ABOVE].get_xlim()
    assert low < places.xyz_mm[:, 0].min()
    assert places.xyz_mm[:, 0].max() < high


@pytest.mark.parametrize(("direction", "strongest"), [(1.0, 2), (-1.0, 0)])
def test_blue_speaks_for_the_positive_outcome_and_orange_against(direction, strongest):
    figure = glass_figure([a_map(4, largest=1, direction=direction)], four_places())
    red_green_blue = drawn_large(figure, ABOVE).get_facecolor()[0, :3]
    assert red_green_blue.argmax() == strongest


@pytest.mark.parametrize(
    ("z", "ringed", "limit"),
    [
        (2.5, True, 2.14),
        (-2.5, True, 2.14),
        (2.1, False, 2.14),
        (2.1, True, 2.0),
        (9, False, np.inf),
    ],
)
def test_a_ring_says_that_a_parcel_stands_out_against_shuffled_outcomes(z, ringed, limit):
    figure = glass_figure([a_map(4, largest=1, z=z, z_limit=limit)], four_places())
    assert (drawn_large(figure, ABOVE).get_linewidths()[0] > 0) == ringed
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert (f"|z| > {limit:.2f}, uncorrected" in legend) == ringed


def test_a_slice_has_the_colour_of_the_largest_value_where_its_parcel_is(places):
    values = np.zeros(len(places.names))
    middle = np.abs(places.xyz_mm - [30, 0, 20]).sum(axis=1).argmin()
    values[middle] = 3.0
    figure = slices_figure([Slices("A map", paint(places.volume, values))])
    overlays = list(figure.axes[0].images)[1::2]
    # The only yellow there is: at the end of the scale.
    yellow = [(image.get_array()[..., :2] > 0.7).all(axis=-1) for image in overlays]
    most = max(yellow, key=np.sum)
    assert most.any()
    # The right of the person is at the right.
    assert np.flatnonzero(most.any(axis=0)).min() > most.shape[1] / 2


def test_painting_gives_every_voxel_the_value_of_its_parcel(places):
    values = np.arange(1.0, len(places.names) + 1)
    painted = np.asarray(paint(places.volume, values).dataobj)
    np.testing.assert_array_equal(np.nan_to_num(painted), places.volume.labels)
    assert np.isnan(painted[places.volume.labels == 0]).all()


def shares(**changes) -> pd.DataFrame:
    rows = [
        {"model": "fmmtc", "modality": "series", "share": 0.3, "low": 0.2, "high": 0.4},
        {"model": "fmmtc", "modality": "connectivity", "share": 0.7, "low": 0.6, "high": 0.8},
    ]
    return pd.DataFrame(rows).assign(**changes)


def test_bars_of_streams_fill_the_whole_and_meet_at_the_share():
    axes = shares_figure(shares(), {"fmmtc": "FMM_TC"}).axes[0]
    first, second = axes.patches
    assert first.get_width() == pytest.approx(30)
    assert second.get_x() == pytest.approx(30)
    assert second.get_x() + second.get_width() == pytest.approx(100)


def test_bars_of_networks_keep_the_order_of_the_first_panel():
    rows = pd.DataFrame(
        {"name": ["A", "B"], "attribution": [2.0, 0.5], "low": [1.5, 0.4], "high": [2.5, 0.6]}
    )
    panels = [Bars("One", rows, "series"), Bars("Two", rows[::-1], "connectivity")]
    figure = networks_figure(panels)
    for axes in figure.axes:
        assert [patch.get_width() for patch in axes.patches] == [2.0, 0.5]
    assert figure.axes[0].get_xlim()[1] > 2.5


def test_a_pattern_without_intervals_can_be_drawn():
    rows = pd.DataFrame({"name": ["A"], "attribution": [2.0], "low": [np.nan], "high": [np.nan]})
    assert networks_figure([Bars("One", rows, "connectivity")]).axes


def edges(*pairs: tuple[int, int, float]) -> pd.DataFrame:
    return pd.DataFrame(pairs, columns=["index", "other", "signed"]).assign(attribution=0.01)


def test_an_edge_joins_its_two_parcels_from_above():
    figure = edges_figure(edges((1, 4, 0.01)), four_places())
    brain = figure.axes[1]
    (line,) = brain.lines
    np.testing.assert_allclose(line.get_xydata(), CORNERS_MM[[0, 3], :2])


def test_an_edge_of_a_parcel_that_the_atlas_lacks_is_left_out():
    figure = edges_figure(edges((1, 4, 0.01), (1, 99, 0.01)), four_places())
    assert len(figure.axes[1].lines) == 1


def every_figure(places: Places, mark: str) -> dict[str, Figure]:
    n = len(places.names)
    row = a_map(n, largest=0)
    rows = pd.DataFrame({"name": ["A"], "attribution": [2.0], "low": [1.0], "high": [3.0]})
    return {
        "glass": glass_figure([row], places, mark),
        "slices": slices_figure([Slices("A map", paint(places.volume, row.amount))], mark),
        "shares": shares_figure(shares(), {"fmmtc": "FMM_TC"}, mark),
        "networks": networks_figure([Bars("One", rows, "series")], mark),
        "edges": edges_figure(edges((1, 2, 0.01)), places, mark),
    }


def test_every_figure_of_an_unsupported_model_carries_the_words(places):
    for name, figure in every_figure(places, NO_EVIDENCE).items():
        svg = inline_svg(figure, name, name)
        assert NO_EVIDENCE in svg, name
        assert texts(figure).count(NO_EVIDENCE) == 1


def test_the_watermark_stays_inside_its_figure(places):
    for name, figure in every_figure(places, NO_EVIDENCE).items():
        figure.canvas.draw()
        mark = next(text for text in figure.texts if text.get_text() == NO_EVIDENCE)
        box = mark.get_window_extent()
        assert box.x0 >= 0, name
        assert box.x1 <= figure.bbox.x1, name
        assert box.width > figure.bbox.width / 3, name


def test_figures_of_a_supported_model_carry_no_watermark(places):
    for figure in every_figure(places, "").values():
        assert NO_EVIDENCE not in texts(figure)


def test_figures_follow_the_page_and_hold_no_shade_that_is_a_stand_in(places):
    for name, figure in every_figure(places, "").items():
        svg = inline_svg(figure, name, name)
        assert "var(--" in svg
        assert not re.search(r"#0([1-7])0\1\0?", svg)
        for found in re.findall(r"data:image/png;base64,([^\"]+)", svg):
            assert imread(io.BytesIO(base64.b64decode(found)), format="png").size


def test_coloured_pixels_of_a_slice_have_a_colour_of_the_bar(places):
    """Every drawn pixel that has a hue, against the colours of the bar beside it."""
    values = np.random.default_rng(0).gamma(1, 1, len(places.names))
    figure = slices_figure([Slices("A map", paint(places.volume, values))])
    figure.set_dpi(150)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())
    *slices, bar = [each.get_window_extent() for each in figure.axes]
    shown, scale = (_inside(pixels, each) for each in (slices[0], bar))
    known, coloured = (each[np.ptp(each, axis=1) > 20] for each in (scale, shown))
    known = np.unique(known, axis=0)
    assert len(known) >= 30
    assert len(coloured) > 1000
    colours, counts = np.unique(coloured, axis=0, return_counts=True)
    # Rounded to whole steps, a colour of the bar and one of an image may differ by one.
    apart = np.abs(colours[:, None] - known).max(axis=2).min(axis=1)
    assert counts[apart <= 1].sum() >= 0.99 * counts.sum()


def _inside(pixels, box):
    """(pixel, 3) colours within a box of a figure, whose rows count from above."""
    top = len(pixels) - round(box.y1)
    part = pixels[top : top + round(box.height), round(box.x0) : round(box.x1), :3]
    return part.reshape(-1, 3).astype(int)


def test_discs_of_all_figures_of_a_page_are_of_one_scale_that_each_legend_gives():
    small, large = a_map(4, largest=0), a_map(4, largest=1)
    large = replace(large, amount=2 * large.amount)
    largest = largest_amount([small, large])
    assert largest == 8
    figures = [glass_figure([each], four_places(), largest=largest) for each in (small, large)]
    sizes = [max(drawn_large(each, LEFT).get_sizes()) for each in figures]
    assert sizes[0] == pytest.approx(sizes[1] / 2)
    legends = [[each.get_text() for each in f.legends[0].get_texts()][:3] for f in figures]
    assert legends[0] == legends[1] == ["8 × average", "4 × average", "2 × average"]
