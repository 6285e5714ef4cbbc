from __future__ import annotations

import base64
import io
import re

import numpy as np
from matplotlib.image import imread

from fmmtc_bidsapp.reports.participant import write_participant_report
from fmmtc_bidsapp.reports.run_figures import connectome, network_order


def report(root, participant="sub-01", **arguments) -> str:
    return write_participant_report(root, participant, **arguments).read_text()


def images(svg: str) -> list[np.ndarray]:
    found = re.findall(r"data:image/png;base64,([^\"]+)", svg)
    return [imread(io.BytesIO(base64.b64decode(each)), format="png") for each in found]


def test_every_section_is_there(write_a_run):
    html = report(write_a_run())
    for section in ("summary", "run1", "errors", "methods", "about"):
        assert f'<section id="{section}">' in html
        assert f'href="#{section}"' in html


def test_the_quality_table_has_words_and_units(write_a_run):
    text = re.sub(r"<[^>]+>", " ", report(write_a_run()))
    text = " ".join(text.split())
    assert "Mean framewise displacement 0.120 mm" in text
    assert "Lowest coverage 20 %" in text
    assert "Atlas resampled yes" in text


def test_a_missing_parcel_is_listed_with_its_coverage(write_a_run):
    row = re.search(r'<th scope="row">P1</th>.*?</tr>', report(write_a_run()), re.DOTALL)
    assert row is not None
    assert "20 %" in row[0]
    assert "n/a" in row[0]


def test_another_atlas_than_a424_is_announced(write_a_run):
    root = write_a_run("02", atlas=write_a_run.atlas("generated"))
    assert "were not made with A424, but with Atlas generated (generated)" in report(root, "sub-02")
    assert "not made with" not in report(write_a_run())


def test_a_run_that_failed_is_told_with_its_message(write_a_run):
    html = report(write_a_run(), problems=[("task-rest run-2", "InputError: cut short")])
    assert "1 failed" in html
    assert "InputError: cut short" in html


def test_a_participant_without_a_finished_run_still_has_a_report(tmp_path):
    html = report(tmp_path, problems=[("task-rest", "no mask")])
    assert "No run finished." in html
    assert "no mask" in html


def test_a_run_whose_quality_table_is_not_there_yet_is_not_reported(write_a_run):
    root = write_a_run()
    next(root.rglob("*_qc.tsv")).unlink()
    assert "No run finished." in report(root)


def test_without_an_atlas_table_the_parcels_are_drawn_in_file_order(write_a_run):
    root = write_a_run()
    next(root.rglob("*_dseg.tsv")).unlink()
    assert "<svg" in report(root)


def test_one_long_run_of_424_parcels_stays_below_5_mb(write_a_run):
    root = write_a_run(atlas=write_a_run.atlas("A424", 424), n_volumes=1500)
    assert write_participant_report(root, "sub-01").stat().st_size < 5e6


def test_parcels_are_ordered_by_network_with_the_unknown_last():
    order = network_order(("B", "n/a", "A", "B", "A"))
    assert order.tolist() == [0, 3, 2, 4, 1]


def test_a_missing_parcel_is_grey_in_the_matrix():
    matrix = np.ones((3, 3))
    matrix[1] = matrix[:, 1] = np.nan
    drawn = next(
        image
        for image in images(connectome("fc", matrix, ("A", "B", "A"), "r"))
        if image.shape[:2] == (3, 3)
    )
    grey = [0x8C / 255] * 3
    np.testing.assert_allclose(drawn[2, :, :3], [grey] * 3, atol=0.01)
    assert not np.allclose(drawn[0, 0, :3], grey, atol=0.05)
