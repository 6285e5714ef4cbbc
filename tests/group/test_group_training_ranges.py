"""Whether a scan is like those of the training people."""

from __future__ import annotations

import pytest

from fmmtc_bidsapp.group.bundle.training_ranges import TrainingRange, training_range

RANGE = TrainingRange(tr_s=(2.0, 2.5), n_volumes=(120, 150), mean_fd_mm=(0.05, 0.3))


@pytest.mark.parametrize(
    ("scan", "words"),
    [
        ((2.0, 130, 0.1), None),
        ((None, 130, None), None),
        ((None, None, None), None),
        ((2.0000001, 130, 0.1), None),
        ((2.2, 130, 0.1), None),
        ((0.8, 130, 0.1), "TR 0.8 s, trained on 2 to 2.5 s"),
        ((2.0, 300, 0.1), "300 volumes, trained on 120 to 150"),
        ((2.0, 130, 0.9), "mean FD 0.90 mm, trained on up to 0.30 mm"),
    ],
)
def test_a_scan_outside_the_training_range_says_in_what(scan, words: str | None) -> None:
    found = "; ".join(RANGE.outside(*scan))
    assert found == "" if words is None else words in found


def test_nothing_is_outside_of_what_is_not_known() -> None:
    assert training_range([], [], []).outside(0.8, 12, 4.0) == []
