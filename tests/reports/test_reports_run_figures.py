"""The pictures of a run against arrays with a known look."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from fmmtc_bidsapp.bidsio.files.names import atlas_files
from fmmtc_bidsapp.bidsio.files.tsv import write_tsv
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.reports.data.label_volume import read_labels
from fmmtc_bidsapp.reports.data.outputs import read_table
from fmmtc_bidsapp.reports.data.run_tables import Series, read_motion, read_series
from fmmtc_bidsapp.reports.figures.run_brain import outline_image
from fmmtc_bidsapp.reports.figures.run_figures import KINDS, draw_run, why_not_drawn
from fmmtc_bidsapp.reports.figures.run_series import (
    carpet_images,
    connectivity_figure,
    network_order,
)
from fmmtc_bidsapp.reports.figures.style import inline_file, write_svg

SAND = (0xF2 / 255, 0xD7 / 255, 0xA6 / 255, 1)
CLEAR = 0


def svg_of(figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    return buffer.getvalue()


def images(svg: str) -> list[np.ndarray]:
    found = re.findall(r"data:image/png;base64,([^\"]+)", svg)
    return [imread(io.BytesIO(base64.b64decode(each)), format="png") for each in found]


def test_a_run_has_every_picture_in_the_figures_folder_of_its_participant(write_a_run):
    files = write_a_run.run()
    drawn = draw_run(files, write_a_run.boldref())
    assert [path.name.rpartition("_")[2] for path in drawn] == [f"{kind}.svg" for kind in KINDS]
    assert {path.parent for path in drawn} == {write_a_run.root / "sub-01" / "figures"}


@pytest.mark.slow
def test_drawn_again_a_picture_is_the_same_bytes_and_the_file_is_left_alone(write_a_run):
    files, boldref = write_a_run.run(), write_a_run.boldref()
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in draw_run(files, boldref)]
    after = [(path.read_bytes(), path.stat().st_mtime_ns) for path in draw_run(files, boldref)]
    assert before == after


@pytest.mark.parametrize("noise", [1e-15, 3e-14, 1e-12])
def test_noise_of_the_layout_that_nobody_can_see_changes_no_byte(tmp_path, noise):
    written = []
    for shift in (0, noise):
        figure = Figure()
        axes = figure.add_axes((0.1 + shift, 0.1, 0.8, 0.8))
        axes.plot([0, 1], [1, 0], marker="o")
        write_svg(tmp_path / "a.svg", figure, "a line")
        written.append((tmp_path / "a.svg").read_text())
    assert written[0] == written[1]
    assert re.search(r"url\(#shared\d+\)", written[0])
    defined = set(re.findall(r'\bid="([^"]+)"', written[0]))
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', written[0])) <= defined


def test_a_picture_stands_alone_without_date_or_css_and_takes_the_pages_colours_inside(write_a_run):
    path = draw_run(write_a_run.run(), None)[0]
    alone = path.read_text()
    assert "var(--" not in alone
    assert "<dc:date>" not in alone
    inside = inline_file(path, "here")
    assert "var(--accent)" in inside
    assert "#0072b1" not in inside
    assert set(re.findall(r'\bid="([^-"]+)', inside)) == {"here"}


def test_without_a_boldref_the_picture_says_so(write_a_run):
    files = write_a_run.run()
    draw_run(files, None)
    assert "no boldref in this space" in files.figure("outline").read_text()
    draw_run(files, write_a_run.boldref())
    assert "no boldref" not in files.figure("outline").read_text()


def test_a_boldref_that_is_no_image_is_named(write_a_run):
    boldref = write_a_run.root / "x_boldref.nii.gz"
    for content in (None, b"cut"):
        if content:
            boldref.write_bytes(content)
        with pytest.raises(InputError, match=r"x_boldref\.nii\.gz cannot be read"):
            draw_run(write_a_run.run(), boldref)


@pytest.mark.parametrize(
    ("change", "kind", "why"),
    [
        ({"desc": "none"}, "design", "No regressor was used"),
        ({"den": "91k"}, "outline", "grayordinates"),
    ],
)
def test_a_picture_that_a_run_cannot_have_is_not_drawn_and_the_reason_is_known(
    write_a_run, change, kind, why
):
    files = write_a_run.run(**change)
    stale = files.figure(kind)
    stale.parent.mkdir(parents=True)
    stale.write_text("of an earlier run")
    assert stale not in draw_run(files, None)
    assert not stale.exists()
    assert why in why_not_drawn(files, kind)


def test_without_a_confounds_table_there_is_no_motion_to_draw(write_a_run):
    files = write_a_run.run(desc="none")
    unknown = np.full(40, np.nan)
    write_tsv(
        files.outliers,
        {"fd_mm": unknown, "std_dvars": unknown, "dummy": [0] * 40, "censored": [0] * 40},
    )
    assert files.figure("motion") not in draw_run(files, None)
    assert "not known" in why_not_drawn(files, "motion")


def test_the_cleaned_series_is_spread_over_the_volumes_it_stands_for(write_a_run):
    files = write_a_run.run()
    series = read_series(files)
    retained = read_motion(files).retained
    assert retained.sum() == 35
    np.testing.assert_array_equal(series.cleaned[retained], read_table(files.timeseries))
    assert np.isnan(series.cleaned[~retained]).all()


def test_a_cleaned_series_that_fits_no_outliers_table_is_refused(write_a_run):
    files = write_a_run.run()
    outliers = read_table(files.outliers)
    write_tsv(files.outliers, {name: outliers[name][:-1].tolist() for name in outliers})
    with pytest.raises(InputError, match="of different runs"):
        read_series(files)


def a_series(**changes) -> Series:
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(50, 4)) * [1, 10, 1, 1] + np.linspace(0, 500, 50)[:, None]
    raw[:, 2] = np.nan
    dummy, censored = np.zeros(50, dtype=bool), np.zeros(50, dtype=bool)
    dummy[:3] = censored[20] = True
    values = {
        "parcels": tuple("abcd"), "networks": ("N",) * 4, "uncleaned": raw, "cleaned": raw * 0,
        "dummy": dummy, "censored": censored, "tr_s": 2.0,
    }  # fmt: skip
    return Series(**{**values, **changes})


def test_a_carpet_has_sand_for_missing_parcels_and_is_clear_where_a_volume_was_left_out():
    before, after = carpet_images(a_series())
    np.testing.assert_allclose(before[2], np.tile(SAND, (50, 1)))
    assert (after[:, [0, 1, 2, 20], 3] == CLEAR).all()
    assert (after[:, 21:, 3] == 1).all()
    assert (before[..., 3] == 1).all()


def test_both_carpets_are_in_the_scale_of_the_series_before_cleaning():
    raw = a_series().uncleaned
    half = raw - np.linspace(0, 500, 50)[:, None]
    before, after = carpet_images(a_series(cleaned=half * 0.5))
    spread = [image[[0, 1, 3], 21:, 0].std() for image in (before, after)]
    assert spread[1] == pytest.approx(0.5 * spread[0], rel=0.15)
    # A parcel of ten times the amplitude looks like the others.
    assert before[1, :, 0].std() == pytest.approx(before[0, :, 0].std(), rel=0.3)


def test_without_cleaning_there_is_one_carpet():
    assert carpet_images(a_series(cleaned=None))[1] is None


def test_parcels_are_ordered_by_network_with_the_unknown_last():
    order = network_order(("B", "n/a", "A", "B", "A"))
    assert order.tolist() == [0, 3, 2, 4, 1]


def test_a_missing_parcel_is_grey_in_the_matrix():
    matrix = np.ones((3, 3))
    matrix[1] = matrix[:, 1] = np.nan
    figure, alt = connectivity_figure(matrix, ("A", "B", "A"), "r", 1.0)
    drawn = next(image for image in images(svg_of(figure)) if image.shape[:2] == (3, 3))
    grey = [0x8C / 255] * 3
    np.testing.assert_allclose(drawn[2, :, :3], [grey] * 3, atol=0.01)
    assert not np.allclose(drawn[0, 0, :3], grey, atol=0.05)
    assert "1 are missing" in alt


def test_a_matrix_without_any_value_can_be_drawn():
    figure, _ = connectivity_figure(np.full((3, 3), np.nan), ("A", "B", "A"), "r", None)
    assert "<svg" in svg_of(figure)


def test_an_outline_is_where_one_parcel_ends_one_pixel_wide():
    plane = np.zeros((3, 4), dtype=np.int64)
    plane[1, 1], plane[1, 2] = 1, 2
    drawn = outline_image(plane, ("A", "B"), filled=False)[..., 3] > 0
    assert not drawn[:3].any()
    assert not drawn[6:].any()
    np.testing.assert_array_equal(
        drawn[3:6, 3:9],
        [[1, 1, 1, 1, 1, 1], [1, 0, 1, 0, 0, 1], [1, 1, 1, 1, 1, 1]],
    )


def test_labels_are_turned_to_the_right_and_numbered_by_their_row(write_a_run):
    files = write_a_run.run()
    image, table, _ = atlas_files(files.output_dir, files.space, files.atlas, files.res)
    volume = read_labels(image, read_table(table)["index"].to_numpy()[::-1])
    assert volume.image.affine[0, 0] > 0
    # Label 1, stored at the right, is the last row of a table that was turned round.
    assert volume.labels[11, 2, 2] == 12


def test_unknown_networks_and_a_parcel_alone_can_be_drawn(write_a_run):
    files = write_a_run.run(n_parcels=2)
    table = atlas_files(files.output_dir, files.space, files.atlas, files.res)[1]
    write_tsv(table, {"index": [1, 2], "name": ["P0", "P1"]})
    assert len(draw_run(files, None)) == len(KINDS)
