"""Maps summed up: every figure has a value that can be worked out."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest, spearmanr

from fmmtc_bidsapp.learning.explanation.cohort_maps import join_nulls, null_maps, restore_null_maps
from fmmtc_bidsapp.learning.explanation.map_tables import Places, summarise
from fmmtc_bidsapp.learning.explanation.map_values import stability
from fmmtc_bidsapp.records import Fold, FoldExplanation

PLACES = Places(
    names=("a", "b", "c", "d"),
    index=(11, 12, 13, 14),
    groups={"network": ("N1", "N1", "N2", "n/a"), "hemisphere": ("left", "right", "left", "right")},
)


def explanation(series=None, edges=None, fold=0, repeat=0, test=None, **more):
    n = len(series if series is not None else edges)
    rows = np.arange(fold * n, fold * n + n) if test is None else np.array(test)
    signed = None if series is None else np.array(series, dtype=float)
    return FoldExplanation(
        model="fmmtc",
        fold=Fold(repeat, fold, np.array([998, 999]), rows),
        method="integrated gradients",
        series=signed,
        series_size=None if series is None else np.abs(signed),
        edges=None if edges is None else np.array(edges, dtype=np.float32),
        delta=np.zeros(n),
        steps=np.full(n, 16),
        converged=np.ones(n, dtype=bool),
        gap=np.full(n, 0.25),
    )  # fmt: skip


def symmetric(values, n=4):
    """(person, edge) of the upper triangle to matrices."""
    values = np.asarray(values, dtype=float)
    edges = np.full((len(values), n, n), np.nan)
    first, second = np.triu_indices(n, k=1)
    edges[:, first, second] = edges[:, second, first] = values
    return edges


def table(folds, nulls=(), places=PLACES, draws=200):
    rows, about = summarise(folds, nulls, places, seed=1, n_bootstrap=draws)
    return {(each.source, each.level, each.name): each for each in rows}, about


def test_parcels_are_shares_of_the_total_and_groups_are_over_the_average():
    rows, _ = table([explanation([[1, -2, 3, 4], [1, -4, 3, 2]])])
    parcels = [rows["series", "parcel", name] for name in "abcd"]
    assert [each.attribution for each in parcels] == pytest.approx([0.1, 0.3, 0.3, 0.3])
    assert [each.signed for each in parcels] == pytest.approx([0.1, -0.3, 0.3, 0.3])
    assert [each.index for each in parcels] == [11, 12, 13, 14]
    first = rows["series", "network", "N1"]
    assert first.attribution == pytest.approx(2 / 2.5)
    assert first.signed == pytest.approx(-1 / 2.5)
    assert (first.index, first.other) == (None, None)
    assert rows["series", "hemisphere", "left"].attribution == pytest.approx(2 / 2.5)
    assert ("series", "network", "n/a") not in rows


def test_a_parcels_connectivity_is_half_of_its_edges_and_edges_are_shares_of_all():
    #            ab ac ad bc bd cd
    rows, _ = table([explanation(edges=symmetric([[6, 0, 0, -2, 0, 2], [2, 0, 0, -2, 0, 2]]))])
    strength = [rows["connectivity", "parcel", name].attribution for name in "abcd"]
    assert strength == pytest.approx([2 / 8, 3 / 8, 2 / 8, 1 / 8])
    edges = [each for each in rows.values() if each.level == "edge"]
    assert [each.name for each in edges][:3] == ["a – b", "b – c", "c – d"]
    assert [each.attribution for each in edges][:3] == pytest.approx([4 / 8, 2 / 8, 2 / 8])
    assert edges[1].signed == pytest.approx(-2 / 8)
    assert (edges[1].index, edges[1].other) == (12, 13)
    assert len(edges) == 6


def test_no_more_than_the_hundred_largest_edges_are_listed():
    rng = np.random.default_rng(0)
    names = tuple(map(str, range(20)))
    places = Places(names, range(20), {})
    values = rng.normal(size=(3, 190))
    rows, _ = table([explanation(edges=symmetric(values, 20))], places=places)
    edges = [each.attribution for each in rows.values() if each.level == "edge"]
    mean = np.abs(values).mean(axis=0)
    np.testing.assert_allclose(edges, np.sort(mean / mean.sum())[::-1][:100], rtol=1e-5)


def test_who_did_not_converge_is_left_out_and_said():
    good, bad = [1, 1, 1, 1], [100, 0, 0, 0]
    one = replace(explanation([good, bad]), converged=np.array([True, False]))
    rows, about = table([one])
    assert rows["series", "parcel", "a"].attribution == pytest.approx(0.25)
    assert (about["Maps"], about["Converged"], about["MedianGap"]) == (2, 1, 0.25)
    nobody = replace(one, converged=np.zeros(2, dtype=bool))
    rows, about = table([nobody])
    assert rows == about["Stability"] == {}
    assert about["NoMaps"] == "no integral was complete to 1 %"


def test_a_model_that_says_the_same_of_everybody_has_no_rows_and_says_why():
    dead = replace(
        explanation([[0, 0, 0, 0]], symmetric([[0] * 6])),
        delta=np.array([np.inf]),
        converged=np.array([False]),
    )
    rows, about = table([dead])
    assert rows == {}
    assert "the same for everyone" in about["NoMaps"]
    pattern = replace(
        explanation(edges=symmetric([[np.nan] * 6])),
        method="Haufe pattern", converged=None, delta=None, steps=None, gap=None,
    )  # fmt: skip
    rows, about = table([pattern])
    assert rows == {}
    assert "the same for everyone" in about["NoMaps"]


def test_a_source_that_carries_nothing_has_no_rows_and_is_named():
    rows, about = table([explanation([[0, 0, 0, 0]], symmetric([[1, 2, 3, 4, 5, 6]]))])
    assert {source for source, *_ in rows} == set(about["Stability"]) == {"connectivity"}
    assert about["WithoutMap"] == ["series"]
    assert "NoMaps" not in about


def test_what_a_person_lacks_counts_in_nobodys_mean():
    nan = np.nan
    rows, _ = table([explanation([[2, nan, 1, 1], [2, 4, 1, nan], [2, nan, 1, 1]])])
    parcels = [rows["series", "parcel", name].attribution for name in "abcd"]
    assert parcels == pytest.approx([2 / 8, 4 / 8, 1 / 8, 1 / 8])
    everyone, _ = table([explanation([[1, nan, 1, 1]] * 3)])
    assert np.isnan(everyone["series", "parcel", "b"].attribution)


def test_signs_are_counted_over_people_and_repeats_are_the_same_people():
    folds = [
        explanation([[1, 1, 1, 1], [1, -1, 1, 1], [1, -3, 1, 1]]),
        explanation([[1, 1, 1, 1], [1, -1, 1, 1], [1, -3, 1, 1]], repeat=1),
    ]
    rows, _ = table(folds)
    second = rows["series", "parcel", "b"]
    assert second.sign_consistency == pytest.approx(2 / 3)
    assert second.signed < 0
    single, _ = table(folds[:1])
    assert repr(second) == repr(single["series", "parcel", "b"])


def test_the_interval_holds_the_share_of_everyone_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        maps = rng.gamma(2, [1.0, 2.0, 3.0, 4.0], size=(40, 4))
        own = table([explanation(maps)])[0]["series", "parcel", "b"]
        held += own.low <= 0.2 <= own.high
    assert 84 <= held <= 100


def test_one_person_or_the_pattern_of_a_linear_model_has_no_interval():
    rows, _ = table([explanation([[1, 2, 3, 4]])])
    assert np.isnan(rows["series", "parcel", "a"].low)
    patterns = [
        replace(
            explanation(edges=symmetric([[1, 2, 3, 4, 5, 6]]), fold=i),
            method="Haufe pattern", converged=None, delta=None, steps=None, gap=None,
        )
        for i in range(3)
    ]  # fmt: skip
    rows, about = table(patterns)
    own = rows["connectivity", "parcel", "a"]
    assert own.attribution == pytest.approx(6 / 42)
    assert np.isnan([own.low, own.high, own.sign_consistency]).all()
    assert about["Method"] == "Haufe pattern"
    assert "Converged" not in about


def nulls_of(rng, count, n_people=5, folds=2):
    return [
        null_maps(
            explanation(
                rng.normal(size=(n_people, 4)), symmetric(rng.normal(size=(n_people, 6))), fold=fold
            )
            for _ in range(count)
        )
        for fold in range(folds)
    ]


def test_a_null_map_against_null_maps_has_a_z_of_mean_0_and_sd_1():
    rng = np.random.default_rng(0)

    def random(fold):
        return explanation(rng.normal(size=(5, 4)), fold=fold)

    nulls = [null_maps(random(fold) for _ in range(400)) for fold in range(2)]
    tables = [table([random(0), random(1)], nulls, draws=2) for _ in range(200)]
    assert tables[0][1]["NullMaps"] == 400
    z = np.array([[each.z for each in rows.values()] for rows, _ in tables])
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=0.25)
    np.testing.assert_allclose(z.std(axis=0), 1, atol=0.2)
    assert kstest(z[:, 0], "norm").pvalue > 0.01


def test_a_planted_parcel_and_edge_stand_out_from_the_null_maps():
    rng = np.random.default_rng(0)
    nulls = nulls_of(rng, 30)
    series, edges = rng.normal(size=(5, 4)), rng.normal(size=(5, 6))
    series[:, 2] += 5
    edges[:, 0] += 5
    rows, _ = table([explanation(series, symmetric(edges))], nulls)
    assert rows["series", "parcel", "c"].z > 4
    assert rows["connectivity", "edge", "a – b"].z > 4
    assert rows["connectivity", "parcel", "d"].z < 0


def test_fewer_than_ten_null_maps_give_no_z():
    rng = np.random.default_rng(0)
    folds = [explanation(rng.normal(size=(5, 4)))]
    assert np.isnan(table(folds, nulls_of(rng, 9))[0]["series", "parcel", "a"].z)
    assert np.isfinite(table(folds, nulls_of(rng, 10))[0]["series", "parcel", "a"].z)


def test_null_maps_of_folds_weigh_as_many_people_as_they_have_and_survive_a_file():
    small, large = (
        null_maps([explanation([[1, 0, 0, 3]] * 1)]),
        null_maps([explanation([[5, 0, np.nan, 3]] * 3)]),
    )
    joined = join_nulls([small, restore_null_maps(large.arrays())])
    np.testing.assert_allclose(joined.series, [[4, 0, 0, 3]])
    assert join_nulls([]) is None
    assert joined.edges is None


def test_parcels_in_another_order_have_the_same_rows():
    rng = np.random.default_rng(0)
    series, edges = rng.normal(size=(6, 4)), symmetric(rng.normal(size=(6, 6)))
    other = [2, 0, 3, 1]
    moved = Places(
        [PLACES.names[i] for i in other],
        [PLACES.index[i] for i in other],
        {level: [own[i] for i in other] for level, own in PLACES.groups.items()},
    )
    before, _ = table([explanation(series, edges)])
    after, _ = table([explanation(series[:, other], edges[:, other][:, :, other])], places=moved)
    for (source, level, name), row in before.items():
        names = (name, " – ".join(reversed(name.split(" – "))))
        (own,) = (
            after[key] for each in dict.fromkeys(names) if (key := (source, level, each)) in after
        )
        for number in ("attribution", "signed", "low", "high", "sign_consistency"):
            assert getattr(own, number) == pytest.approx(getattr(row, number), rel=1e-5)


def test_stability_is_the_mean_over_pairs_of_folds():
    rng = np.random.default_rng(0)
    maps = [np.abs(rng.normal(size=20)) for _ in range(3)]
    pairs = ((0, 1), (0, 2), (1, 2))
    spearman, jaccard = stability(maps)
    assert spearman == pytest.approx(
        np.mean([spearmanr(maps[i], maps[j]).statistic for i, j in pairs])
    )
    tops = [set(np.argsort(each)[-2:]) for each in maps]
    assert jaccard == pytest.approx(
        np.mean([len(tops[i] & tops[j]) / len(tops[i] | tops[j]) for i, j in pairs])
    )
    assert np.isnan(stability(maps[:1])).all()
    assert stability([maps[0], maps[0]]) == pytest.approx((1, 1))


def test_what_is_said_of_maps_is_ready_for_json():
    folds = [
        replace(
            explanation([[1, 2, 3, 4], [4, 3, 2, 1]], fold=i),
            agreement={"mean": own},
            agreement_n=n,
        )
        for i, (own, n) in enumerate([(0.5, 2), (np.nan, 0)])
    ]
    about = json.loads(json.dumps(table(folds)[1], allow_nan=False))
    assert about["Agreement"] == {"mean": 0.5}
    assert about["AgreementPeople"] == 2
    assert about["Folds"] == 2
    assert about["Stability"]["series"]["Spearman"] is None
