"""The pairwise mode's statistics: cases worked out by hand, choix, and simulated studies."""

import choix
import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from tests.evaluate.simulate import FULL, check_preferences, pairwise_studies
from tweetcap.evaluate.survey.preferences import (
    choice_agreement,
    comparisons,
    fit_strengths,
    overall_win_rates,
    side_bias,
    strengths,
    win_rates,
)

SWAPPED = {"left": "right", "right": "left", "tie": "tie"}


def choices_of(*rows: tuple[str, str, str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["rater", "item", "left", "right", "choice"])


@pytest.fixture(scope="module")
def study():
    """35 raters, 30 photos, 3 systems, of which c is better."""
    return next(pairwise_studies(1, (0.0, 0.2, 0.6), seed=2))


@pytest.fixture(scope="module")
def decided(study):
    """The same without ties."""
    return study[study["choice"] != "tie"]


def mirrored(study: pd.DataFrame) -> pd.DataFrame:
    """Return the same preferences with the sides swapped."""
    return study.assign(left=study["right"], right=study["left"], choice=study["choice"].map(SWAPPED))


def numbers(study: pd.DataFrame):
    table = comparisons(study)
    return [np.searchsorted(list("abc"), table[name].to_numpy(dtype=str)) for name in ("system", "other")], table[
        "points"
    ]


def test_a_tie_is_half_a_win_and_sides_do_not_matter():
    study = choices_of(
        ("r1", "p1", "a", "b", "left"),
        ("r1", "p2", "b", "a", "right"),
        ("r2", "p1", "b", "a", "tie"),
        ("r2", "p2", "a", "b", "right"),
    )
    (row,) = win_rates(study).to_dict("records")
    assert (row["system"], row["other"], row["answers"]) == ("a", "b", 4)
    assert (row["wins"], row["ties"], row["losses"], row["rate"]) == (2, 1, 1, 0.625)
    assert row["low"] >= 0 and row["high"] <= 1


def test_swapping_all_sides_changes_the_bias_and_nothing_else(study):
    for table in (win_rates, overall_win_rates, strengths, choice_agreement):
        pd.testing.assert_frame_equal(table(study), table(mirrored(study)))
    assert side_bias(mirrored(study))["rate"][0] == pytest.approx(1 - side_bias(study)["rate"][0])


def test_overall_rates_average_one_half_and_lie_in_their_intervals(study):
    table = overall_win_rates(study)
    assert np.average(table["rate"], weights=table["answers"]) == pytest.approx(0.5)
    assert (table["low"] < table["rate"]).all() and (table["rate"] < table["high"]).all()


def test_checks_do_not_count(study):
    checks = choices_of(("r1", "p1", None, None, "left"))
    for table in (win_rates, overall_win_rates, strengths, side_bias, choice_agreement):
        pd.testing.assert_frame_equal(table(study), table(pd.concat([study, checks])))


# Strengths


def test_without_ties_the_strengths_are_those_of_choix(decided):
    (first, second), points = numbers(decided)
    pairs = [(a, b) if won else (b, a) for a, b, won in zip(first, second, points == 1, strict=True)]
    expected = choix.opt_pairwise(3, pairs, tol=1e-10)
    found = strengths(decided)["strength"]
    assert found.to_list() == pytest.approx((expected - expected.mean()).tolist(), abs=1e-5)


def test_with_ties_the_strengths_are_the_most_likely_by_davidsons_formula(study):
    (first, second), points = numbers(study)

    def unlikeliness(parameters):
        worth, prevalence = np.exp(np.append(parameters[:2], 0)), np.exp(parameters[2])
        won, lost = worth[first], worth[second]
        tied = prevalence * np.sqrt(won * lost)
        chance = np.select([points == 1, points == 0], [won, lost], tied) / (won + lost + tied)
        return -np.log(chance).sum()

    expected = np.append(optimize.minimize(unlikeliness, np.zeros(3), method="Nelder-Mead", tol=1e-10).x[:2], 0)
    found = strengths(study)
    assert found["strength"].to_list() == pytest.approx((expected - expected.mean()).tolist(), abs=1e-4)
    assert found["against_average"].to_list() == pytest.approx((1 / (1 + np.exp(-found["strength"]))).tolist())


def test_in_two_systems_the_strength_follows_from_wins_and_losses():
    rows = [(f"r{n}", f"p{n % 3}", "a", "b", "left" if n < 6 else "right") for n in range(8)]
    assert strengths(choices_of(*rows))["strength"].to_list() == pytest.approx([np.log(3) / 2, -np.log(3) / 2])


def test_the_influence_of_a_choice_is_what_the_fit_loses_without_it(study):
    (first, second), points = numbers(study)
    points = points.to_numpy()
    values, influences = fit_strengths(first, second, points, 3)
    for place in (0, 17, 400):
        without, _ = fit_strengths(*(np.delete(each, place) for each in (first, second, points)), 3)
        assert values - without == pytest.approx(influences[place], rel=0.02, abs=1e-6)


@pytest.mark.parametrize(
    "outcomes",
    [
        {("a", "b"): "left", ("b", "c"): "left", ("a", "c"): "left"},  # a always wins
        {("a", "b"): "tie", ("b", "c"): "tie", ("a", "c"): "tie"},
    ],
)
def test_where_no_strength_fits_there_is_none(outcomes):
    rows = [(f"r{n}", f"p{n}", *pair, choice) for n in range(4) for pair, choice in outcomes.items()]
    table = strengths(choices_of(*rows))
    assert list(table["system"]) == ["a", "b", "c"]
    assert table[["strength", "low", "high", "against_average"]].isna().all(axis=None)


def test_systems_that_never_met_have_no_win_rate_and_no_strength():
    rows = [(f"r{n}", f"p{n}", *pair, side) for n in range(3) for pair in ("ab", "cd") for side in ("left", "right")]
    study = choices_of(*rows)
    assert list(zip(*win_rates(study)[["system", "other"]].to_numpy().T, strict=True)) == [("a", "b"), ("c", "d")]
    assert strengths(study)["strength"].isna().all()


# Sides and agreement


def test_the_bias_to_a_side_leaves_ties_out():
    sides = ["left"] * 6 + ["right"] * 2 + ["tie"] * 4
    study = choices_of(*((f"r{n % 4}", f"p{n % 3}", "a", "b", side) for n, side in enumerate(sides)))
    (row,) = side_bias(study).to_dict("records")
    assert (row["answers"], row["left"], row["ties"], row["right"], row["rate"]) == (12, 6, 4, 2, 0.75)


def test_nothing_but_ties_has_no_bias():
    (row,) = side_bias(choices_of(("r1", "p1", "a", "b", "tie"))).to_dict("records")
    assert np.isnan(row["rate"]) and np.isnan(row["p"])


def test_raters_agree_on_texts_whatever_side_they_stood_on():
    rows = []
    for rater in ("r1", "r2", "r3"):
        rows += [(rater, "p1", "a", "b", "left"), (rater, "p2", "a", "b", "right")]
    study = choices_of(*rows)
    study = pd.concat([study, mirrored(study).assign(rater="r4")])
    assert choice_agreement(study)["alpha"][0] == 1


# Simulated studies whose truth is known


def test_in_200_studies_intervals_cover_the_truth_and_false_alarms_are_rare_as_they_should_be():
    shares = check_preferences(200, FULL, seed=1)
    assert shares["win rate covered"] == pytest.approx(0.95, abs=0.03)
    assert shares["strength covered"] == pytest.approx(0.95, abs=0.03)
    assert shares["false alarm"] == pytest.approx(0.05, abs=0.02)
    assert shares["false alarm on sides"] == pytest.approx(0.05, abs=0.02)
