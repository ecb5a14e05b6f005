"""The station's statistics against published examples, exact sums and simulation."""

from __future__ import annotations

from math import comb, inf, isnan, sqrt
from statistics import fmean, stdev

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeapp.station.distributions import beta_cdf, beta_quantile, chi2_quantile, gamma_cdf
from edgeapp.station.statistics import (
    MOVING_RANGE_EFFICIENCY,
    Counts,
    Reinspection,
    Signal,
    capability,
    error_rates,
    first_pass_yield,
    nelson_rules,
    p_chart,
    pareto,
    share,
    western_electric,
)


@settings(deadline=None)
@given(a=st.integers(1, 60), b=st.integers(1, 60), x=st.floats(0.001, 0.999))
def test_the_incomplete_beta_function_is_the_binomial_sum(a: int, b: int, x: float) -> None:
    n = a + b - 1
    exact = sum(comb(n, k) * x**k * (1 - x) ** (n - k) for k in range(a, n + 1))
    assert beta_cdf(x, a, b) == pytest.approx(exact, abs=1e-11)


@settings(deadline=None)
@given(share=st.floats(0.001, 0.999), a=st.floats(0.5, 5_000), b=st.floats(0.5, 5_000))
def test_a_quantile_is_the_inverse(share: float, a: float, b: float) -> None:
    assert beta_cdf(beta_quantile(share, a, b), a, b) == pytest.approx(share, abs=1e-8)
    assert gamma_cdf(chi2_quantile(share, a) / 2, a / 2) == pytest.approx(share, abs=1e-8)


def test_chi_square_as_in_the_tables() -> None:
    table = {(0.95, 10): 18.307, (0.025, 19): 8.9065, (0.975, 19): 32.852, (0.5, 1): 0.45494, (0.99, 100): 135.807}
    for (below, freedom), value in table.items():
        assert chi2_quantile(below, freedom) == pytest.approx(value, rel=2e-5)


def test_a_share_as_clopper_and_pearson_have_it() -> None:
    half = share(5, 10)
    assert [half.value, half.low, half.high] == pytest.approx([0.5, 0.18709, 0.81291], abs=1e-5)
    assert share(0, 100).high == pytest.approx(1 - 0.025 ** (1 / 100))
    assert (share(0, 7).low, share(7, 7).high) == (0.0, 1.0)
    nothing = share(0, 0)
    assert isnan(nothing.value)
    assert (nothing.low, nothing.high) == (0.0, 1.0)


@pytest.mark.parametrize("p", [0.003, 0.05, 0.4])
def test_the_interval_of_a_share_covers_at_least_as_often_as_it_says(p: float) -> None:
    n = 80
    weights = [comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    covered = sum(weight for k, weight in enumerate(weights) if share(k, n).low <= p <= share(k, n).high)
    assert covered >= 0.95


def test_a_part_not_inspected_is_no_yield() -> None:
    assert first_pass_yield(Counts(90, 5, 5)).value == 0.9


def test_pareto_by_hand() -> None:
    bars = pareto({"dent": 5, "burr": 3, "crack": 0, "ant": 5, "stain": 7})
    assert [(bar.cause, bar.parts, bar.share, bar.cumulated) for bar in bars] == [
        ("stain", 7, 0.35, 0.35), ("ant", 5, 0.25, 0.6), ("dent", 5, 0.25, 0.85), ("burr", 3, 0.15, 1.0),
    ]  # fmt: skip
    assert pareto({}) == []


# Montgomery, 7th ed., table 7.1: orange juice cans, 30 samples of 50.
CANS = (12, 15, 8, 10, 4, 7, 16, 9, 14, 10, 5, 6, 17, 12, 22, 8, 10, 5, 13, 11, 20, 18, 24, 15, 9, 12, 7, 13, 9, 6)


def test_montgomerys_p_chart() -> None:
    chart = p_chart([(50, cans) for cans in CANS])
    assert chart.centre == pytest.approx(0.2313, abs=5e-5)
    assert chart.points[0].high == pytest.approx(0.4102, abs=5e-5)
    assert chart.points[0].low == pytest.approx(0.0524, abs=1e-4)
    assert [each.at + 1 for each in chart.signals if each.rule == "Western Electric 1"] == [15, 23]


def test_limits_widen_for_smaller_subgroups_and_stay_shares() -> None:
    chart = p_chart([(100, 4), (25, 1), (0, 0), (400, 16)])
    assert chart.centre == 0.04
    assert len(chart.points) == 3
    assert [point.high for point in chart.points] == [
        pytest.approx(0.04 + 3 * sqrt(0.04 * 0.96 / size)) for size in (100, 25, 400)
    ]
    assert chart.points[1].low == 0.0
    assert all(point.z == pytest.approx(0) for point in chart.points)
    assert chart.signals == ()


def test_a_line_without_rejects_has_no_limits_to_break_until_there_is_one() -> None:
    assert p_chart([(50, 0)] * 20).signals == ()
    assert p_chart([]).points == ()
    known = p_chart([(50, 0), (50, 1)], centre=0.0)
    assert (known.points[1].z, known.signals[0].at) == (inf, 1)


@pytest.mark.parametrize(
    ("z", "rule", "at"),
    [
        ([0, 3.1], "1", 1),
        ([2.1, 0, 2.1], "2", 2),
        ([2.1, 2.1], "2", 1),
        ([1.1, 1.1, -0.5, 1.1, 1.1], "3", 4),
        ([0.1] * 8, "4", 7),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_each_western_electric_rule_fires_where_its_pattern_is_complete(
    z: list[float], rule: str, at: int, sign: int
) -> None:
    found = western_electric([sign * each for each in z])
    assert Signal(at, f"Western Electric {rule}", sign > 0) in found
    assert not [each for each in found if each.at < at]


@pytest.mark.parametrize(
    "z",
    [
        [3.0, 0],
        [2.1, 0, 0, 2.1],
        [2.1, -2.1, 0],
        [1.1, 1.1, 0.5, 0.5, 1.1],
        [0.1] * 7,
        [0.1] * 7 + [0.0],
        [2.1, 2.1, 0][2:],
    ],
)
def test_no_western_electric_rule_fires_before_its_pattern_is_complete(z: list[float]) -> None:
    assert western_electric(z) == []


def test_western_electric_rules_are_as_rarely_wrong_as_is_known() -> None:
    """Champ and Woodall 1987, Technometrics 29: all four together, 91.75 points between false alarms."""
    runs = np.random.default_rng(7).normal(size=(1_000, 600))
    lengths = []
    for run in runs:
        values = run.tolist()
        for end in range(50, 601, 50):
            if found := western_electric(values[:end]):
                lengths.append(found[0].at + 1)
                break
        else:
            lengths.append(600)
    assert fmean(lengths) == pytest.approx(91.75, rel=0.1)


def test_nelsons_rules() -> None:
    assert [each.rule for each in nelson_rules([0, 1, 2, 3, 4, 5])] == ["Nelson 3"]
    assert nelson_rules([0, 1, 2, 3, 4, 4]) == []
    assert nelson_rules([5, 4, 3, 2, 1, 0]) == [Signal(5, "Nelson 3", above=False)]
    assert [each.rule for each in nelson_rules([0, 1] * 7)] == ["Nelson 4"]
    assert [each.rule for each in nelson_rules([0.5, 0.4, 0.3] * 5)] == ["Nelson 7"]
    assert [each.rule for each in nelson_rules([1.5, -1.4, -1.6, 1.3] * 2)] == ["Nelson 8"]


def scaled(values: np.ndarray[tuple[int], np.dtype[np.float64]], mean: float, sigma: float) -> list[float]:
    return list((values - values.mean()) / values.std(ddof=1) * sigma + mean)


def test_montgomerys_capability_intervals() -> None:
    """Examples 8.4 and 8.5: n = 20; Cp 2.29 is 1.57 to 3.01, and Cpk 1.33 is about 0.88 to 1.78."""
    drawn = np.random.default_rng(1).normal(size=20)
    fit = capability(scaled(drawn, 50.0, 1.75), 38, 62)
    assert fit.sigma_overall == pytest.approx(1.75)
    assert [fit.pp.value, fit.pp.low, fit.pp.high] == pytest.approx([2.29, 1.57, 3.01], abs=0.006)
    fit = capability(scaled(drawn, 50.0, 1.0), 0, 50 + 3 * 1.33)
    assert [fit.ppk.value, fit.ppk.low, fit.ppk.high] == pytest.approx([1.33, 0.88, 1.78], abs=0.005)


def test_the_moving_range_knows_sigma_as_well_as_is_said() -> None:
    values = np.random.default_rng(2).normal(size=(20_000, 60))
    by_range = np.abs(np.diff(values, axis=1)).mean(axis=1) / 1.128
    by_deviation = values.std(axis=1, ddof=1)
    assert by_range.mean() == pytest.approx(1.0, abs=0.005)
    assert by_deviation.var() / by_range.var() == pytest.approx(MOVING_RANGE_EFFICIENCY, abs=0.02)


def test_intervals_of_capability_cover_about_as_often_as_they_say() -> None:
    rng, hits = np.random.default_rng(3), np.zeros(4)
    for _ in range(500):
        fit = capability(rng.normal(10.0, 0.1, 50).tolist(), 9.6, 10.5)
        for n, (index, true) in enumerate(((fit.cp, 1.5), (fit.cpk, 4 / 3), (fit.pp, 1.5), (fit.ppk, 4 / 3))):
            hits[n] += index.low <= true <= index.high
    assert hits / 500 == pytest.approx(0.95, abs=0.03), hits


def test_drift_shows_in_the_overall_indices_only() -> None:
    drift = (np.linspace(-0.3, 0.3, 400) + np.random.default_rng(4).normal(0, 0.02, 400)).tolist()
    fit = capability(drift, -1, 1)
    assert fit.sigma_within == pytest.approx(0.02, rel=0.1)
    assert fit.sigma_overall == pytest.approx(stdev(drift))
    assert fit.cp.low > fit.pp.high


def test_a_capability_of_nothing() -> None:
    with pytest.raises(ValueError, match="at least two"):
        capability([1.0], 0, 2)
    with pytest.raises(ValueError, match="below"):
        capability([1.0, 1.1], 2, 2)
    assert capability([1.0, 1.0], 0, 2).cpk.value == inf


def test_error_rates_by_hand() -> None:
    found = error_rates(
        Reinspection(fails=100, fails_seen=50, fails_good=10, passes=900, passes_seen=300, passes_bad=3)
    )
    # 0.2 * 100 of the rejects are good; so are 0.99 * 900 of the passes.
    assert found.false_rejects.value == pytest.approx(20 / (20 + 891))
    assert found.escapes.value == pytest.approx(9 / (9 + 80))
    assert found.good_among_rejects.value == 0.2
    assert found.bad_among_passes.value == 0.01


def test_what_nobody_looked_at_can_be_anything() -> None:
    found = error_rates(Reinspection(fails=10, fails_seen=0, fails_good=0, passes=90))
    assert isnan(found.false_rejects.value)
    assert (found.false_rejects.low, found.false_rejects.high) == (0.0, 1.0)
    assert (found.escapes.low, found.escapes.high) == (0.0, 1.0)


@pytest.mark.parametrize(("good", "bad"), [(0.1, 0.002), (0.5, 0.05)])
def test_the_interval_of_false_rejects_covers(good: float, bad: float) -> None:
    rng, hits = np.random.default_rng(5), 0
    true = good * 400 / (good * 400 + (1 - bad) * 9_600)
    for _ in range(120):
        seen = Reinspection(400, 60, int(rng.binomial(60, good)), 9_600, 200, int(rng.binomial(200, bad)))
        rate = error_rates(seen).false_rejects
        hits += rate.low <= true <= rate.high
    assert hits >= 0.95 * 120


@settings(deadline=None)
@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 50), st.integers(1, 50), st.data())
def test_the_estimate_lies_in_its_interval(
    fails: int, passes: int, seen: int, looked: int, data: st.DataObject
) -> None:
    found = error_rates(
        Reinspection(fails, seen, data.draw(st.integers(0, seen)), passes, looked, data.draw(st.integers(0, looked)))
    )
    for rate in (found.false_rejects, found.escapes):
        assert 0 <= rate.low <= rate.high <= 1
        assert isnan(rate.value) or rate.low <= rate.value <= rate.high
