"""The questionnaire's statistics: cases worked out by hand, reference implementations, and simulated studies."""

from dataclasses import astuple

import krippendorff
import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.sandwich_covariance import cov_cluster_2groups

from tests.evaluate.simulate import FULL, check_agreement, check_ratings, rating_studies, true_means
from tweetcap.evaluate.survey import statistics
from tweetcap.evaluate.survey.statistics import (
    Components,
    agreement,
    bootstrap_mean,
    chance_to_show,
    crossed_test,
    crossed_variance,
    number_from_zero,
    power_table,
    raters_needed,
    rating_agreement,
    score_distribution,
    system_differences,
    system_means,
    variance_components,
)


@pytest.fixture(scope="module")
def study():
    """35 raters, 30 photos, 3 systems; every tenth answer is missing."""
    return next(rating_studies(1, (3.0, 3.0, 3.6), missing=0.1, seed=5))


def square(scores) -> pd.DataFrame:
    """Two raters, two photos, two systems: scores by rater, then photo."""
    rows = [
        ("r1", "p1", "a", scores[0]),
        ("r1", "p2", "b", scores[1]),
        ("r2", "p1", "b", scores[2]),
        ("r2", "p2", "a", scores[3]),
    ]
    return pd.DataFrame(rows, columns=["rater", "item", "system", "score"]).assign(question="funny")


# Uncertainty over raters and photos


def test_the_crossed_variance_is_that_worked_out_by_hand():
    influence = np.array([0.3, -0.1, -0.4, 0.1, 0.1])  # by rater: 0.2, -0.3, 0.1; by photo: -0.1, 0, 0.1
    raters, items = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 2])
    squares = (0.04 + 0.09 + 0.01) + (0.01 + 0 + 0.01) - (0.09 + 0.01 + 0.16 + 0.01 + 0.01)
    assert squares < 0
    assert crossed_variance(influence, raters, items) == pytest.approx(0.14 * 3 / 2)  # raters alone give more
    influence = np.array([0.3, 0.1, -0.4, -0.1, 0.1])
    squares = (0.16 + 0.25 + 0.01) + (0.01 + 0 + 0.01) - (0.09 + 0.01 + 0.16 + 0.01 + 0.01)
    related = (4 + 4 + 1) + (4 + 4 + 1) - 5
    assert squares * 25 / (25 - related) < 0.42 * 3 / 2
    assert crossed_variance(influence, raters, items) == pytest.approx(0.42 * 3 / 2)


def test_the_crossed_variance_of_a_mean_is_unbiased():
    rng = np.random.default_rng(0)
    raters, items = np.divmod(np.arange(180), 9)
    shown = (raters + items) % 3 == 0  # a third of the Latin square
    raters, items = raters[shown], items[shown]
    answers = rng.standard_normal((4000, 20))[:, raters] + rng.standard_normal((4000, 9))[:, items]
    answers += rng.standard_normal(answers.shape)
    influence = (answers - answers.mean(axis=1, keepdims=True)) / len(raters)
    variances = crossed_variance(influence.T, raters, items)
    assert variances.mean() == pytest.approx(answers.mean(axis=1).var(), rel=0.05)


def test_the_errors_of_differences_are_those_of_statsmodels_clustered_both_ways(study):
    fitted = smf.ols("score ~ system + rater + item", study).fit()
    raters, items = number_from_zero(study["rater"], study["item"])
    place = fitted.model.exog_names.index("system[T.c]")
    both, by_rater, by_item = (
        covariance[place, place] for covariance in cov_cluster_2groups(fitted, raters, items, use_correction=False)
    )
    pairs, related = len(study) ** 2, (np.bincount(raters) ** 2).sum() + (np.bincount(items) ** 2).sum() - len(study)
    variance = max(both * pairs / (pairs - related), by_rater * 35 / 34, by_item * 30 / 29)
    row = system_differences(study).set_index(["system", "other"]).loc[("a", "c")]
    margin = stats.t.ppf(0.975, 29) * np.sqrt(variance)
    assert row["difference"] == pytest.approx(-fitted.params["system[T.c]"])
    assert (row["high"] - row["low"]) / 2 == pytest.approx(margin)
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(row["difference"]) / np.sqrt(variance), 29))


def test_one_rater_or_one_photo_gives_a_figure_without_interval():
    influence = np.array([0.1, -0.1])
    for raters, items in (([0, 0], [0, 1]), ([0, 1], [0, 0])):
        tested = crossed_test(3.0, influence, np.array(raters), np.array(items))
        assert tested.value == 3
        assert np.isnan(tested[1:]).all()


def test_resampling_by_matrices_equals_resampling_answer_by_answer(study):
    answers = study[study["system"] == "a"]
    raters, items = number_from_zero(answers["rater"], answers["item"])
    scores = answers["score"].to_numpy(dtype=float)
    t = statistics._Table(scores, raters, items).resampled_t(scores.mean(), 3, np.random.default_rng(4))
    rng = np.random.default_rng(4)
    rater_draws, item_draws = rng.multinomial(35, np.full(35, 1 / 35), 3), rng.multinomial(30, np.full(30, 1 / 30), 3)
    for resample in range(3):
        rows = []  # every copy of a rater meets every copy of a photo
        for score, rater, item in zip(scores, raters, items, strict=True):
            copies = np.ndindex(rater_draws[resample, rater], item_draws[resample, item])
            rows += [(score, 40 * rater + one, 40 * item + other) for one, other in copies]
        drawn, of_rater, of_item = np.array(rows).T
        numbers = [np.unique(codes, return_inverse=True)[1] for codes in (of_rater, of_item)]
        by_rater, by_item = ((np.bincount(codes, drawn - drawn.mean()) ** 2).sum() for codes in numbers)
        related = sum((np.bincount(codes) ** 2).sum() for codes in numbers) - len(drawn)
        both = by_rater + by_item - ((drawn - drawn.mean()) ** 2).sum()
        both *= len(drawn) ** 2 / (len(drawn) ** 2 - related)
        # The least is that of as many raters and photos as were drawn, whether they answered or not.
        variance = max(both, by_rater * 35 / 34, by_item * 30 / 29) / len(drawn) ** 2
        assert t[resample] == pytest.approx((drawn.mean() - scores.mean()) / np.sqrt(variance))


def test_the_same_seed_gives_the_same_interval_and_it_stays_on_the_scale():
    scores, raters, items = np.array([5.0, 5, 5, 4, 5, 5]), np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 0, 1, 0, 1])
    mean, low, high = bootstrap_mean(scores, raters, items, (1, 5))
    assert (mean, low, high) == bootstrap_mean(scores, raters, items, (1, 5))
    assert 1 <= low < mean < high <= 5


# Means and differences


def test_means_are_those_of_the_answers(study):
    means = system_means(study).set_index("system")
    expected = study.groupby("system")["score"].agg(["mean", "size", "std"])
    assert means["mean"].to_list() == pytest.approx(expected["mean"].to_list())
    assert means["answers"].to_list() == expected["size"].to_list()
    assert means["deviation"].to_list() == pytest.approx(expected["std"].to_list())
    assert (means["low"] < means["mean"]).all() and (means["mean"] < means["high"]).all()


def test_equal_answers_have_no_interval():
    means = system_means(square([3, 3, 3, 3]))
    assert means["mean"].to_list() == [3, 3]
    assert means[["low", "high"]].isna().all(axis=None)


def test_shares_of_scores_add_up_to_one_and_name_scores_nobody_gave():
    table = score_distribution(square([5, 4, 4, 1]))
    of_a = table[table["system"] == "a"]
    assert of_a["answers"].to_list() == [1, 0, 0, 0, 1]
    assert of_a["share"].sum() == 1


def test_in_a_whole_square_the_difference_is_that_of_the_means():
    (whole,) = rating_studies(1, (3.0, 3.4), raters=6, items=8)
    means = whole.groupby("system")["score"].mean()
    assert system_differences(whole)["difference"][0] == pytest.approx(means["a"] - means["b"])


def test_strict_raters_and_easy_photos_make_no_difference():
    # Rater r2 is a point stricter and p2 a point easier; b is half a point better than a: 3, 4.5, 2.5, 3.
    table = system_differences(square([3, 4.5, 2.5, 3]))
    assert table["difference"][0] == pytest.approx(-0.5)


def test_what_one_rater_alone_says_is_no_difference():
    table = system_differences(square([3, 4, 2, 3]).head(2))
    assert table[["difference", "low", "high", "p", "p_holm"]].isna().all(axis=None)


def test_wilcoxon_is_scipys_on_the_means_of_photos_and_of_raters(study):
    row = system_differences(study).set_index(["system", "other"]).loc[("a", "b")]
    for by, column in (("item", "wilcoxon_items"), ("rater", "wilcoxon_raters")):
        means = study.pivot_table(index=by, columns="system", values="score").dropna()
        # Rounded, since 1/3 and 2/6 of a point are a tie.
        differences = (means["a"] - means["b"]).round(9)
        assert row[column] == pytest.approx(stats.wilcoxon(differences, method="asymptotic").pvalue)


def test_holm_is_over_all_questions_and_pairs_and_equals_statsmodels(study):
    second = study.assign(question="like", score=6 - study["score"].where(study["system"] != "a", 3))
    table = system_differences(pd.concat([study, second]))
    assert list(table["question"]) == ["funny"] * 3 + ["like"] * 3  # in the order asked
    for test in ("p", "wilcoxon_items", "wilcoxon_raters"):
        assert table[f"{test}_holm"].to_list() == pytest.approx(multipletests(table[test], method="holm")[1].tolist())


def test_neither_the_order_of_rows_nor_checks_among_them_matter(study):
    check = pd.DataFrame([("r1", "p1", None, "funny", 2)], columns=["rater", "item", "system", "question", "score"])
    shuffled = pd.concat([study.sample(frac=1, random_state=1), check])
    for table in (system_means, system_differences, rating_agreement):
        pd.testing.assert_frame_equal(table(study), table(shuffled))


def test_one_system_has_no_differences(study):
    assert system_differences(study[study["system"] == "a"]).empty


# Agreement


def test_alpha_is_that_of_krippendorffs_example():
    # Four observers, twelve units, some missing: 0.815 for ordered values (Krippendorff 2011, Computing alpha).
    table = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
            [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
        ]
    )
    raters, units = np.nonzero(table)
    alpha = agreement(units, table[raters, units] - 1, raters, units)
    assert alpha.value == pytest.approx(0.815, abs=5e-4)
    assert alpha.low < alpha.value < alpha.high


def test_alpha_without_an_answer_is_that_of_the_package_without_it():
    counts = np.array([[2, 1, 0], [0, 2, 2], [1, 0, 1], [0, 0, 3], [1, 0, 0]])
    losses = statistics._alphas_without_one(counts)
    for unit, value in np.argwhere(counts):
        fewer = counts.copy()
        fewer[unit, value] -= 1
        expected = krippendorff.alpha(value_counts=fewer, level_of_measurement="ordinal")
        assert losses[unit, value] == pytest.approx(expected)


def test_full_agreement_is_one_and_nothing_to_compare_is_no_alpha():
    same = square([5, 2, 2, 5])
    alike = pd.concat([same, same.assign(rater=same["rater"] + "'")])
    assert rating_agreement(alike)["alpha"][0] == 1
    assert np.isnan(rating_agreement(same)["alpha"][0])  # nobody judged the same text
    assert np.isnan(rating_agreement(alike.assign(score=3))["alpha"][0])


# Power


def test_the_components_of_a_large_pilot_are_found():
    (pilot,) = rating_studies(1, (3.0, 3.0), Components(0.4, 0.3, 0.2, 0.35, 0.6), raters=300, items=200)
    found = astuple(variance_components(pilot)["funny"])
    # Rounding to whole scores adds 1/12 to the variance of single answers.
    assert found == pytest.approx((0.4, 0.3, 0.2, 0.35, np.sqrt(0.36 + 1 / 12)), abs=0.06)


def test_components_that_are_not_there_are_none():
    (pilot,) = rating_studies(1, (3.0, 3.0), Components(0, 0, 0, 0, 1.0), raters=100, items=100)
    *found, answer = astuple(variance_components(pilot)["funny"])
    assert found == pytest.approx([0, 0, 0, 0], abs=0.1)
    assert answer == pytest.approx(1, abs=0.1)


def test_as_many_raters_are_needed_as_reach_the_power_and_not_one_less():
    plan = {"systems": 3, "items": 60, "items_per_rater": 30}
    raters = raters_needed(0.3, power=0.9, **plan)
    assert chance_to_show(0.3, raters, **plan) >= 0.9 > chance_to_show(0.3, raters - 1, **plan)


def test_more_raters_are_needed_for_less_difference_fewer_answers_and_stricter_tests():
    usual = raters_needed(0.4, items=60)
    assert raters_needed(0.3, items=60) > usual
    assert raters_needed(0.4, items=60, items_per_rater=15) > usual
    assert raters_needed(0.4, items=60, alpha=0.05 / 12) > usual
    assert raters_needed(0.4, items=60, power=0.95) > usual


def test_where_no_number_of_raters_suffices_the_photos_needed_are_named():
    with pytest.raises(
        ValueError, match=r"no number of raters shows a difference of 0\.2 on 30 photos; take (\d+)"
    ) as caught:
        raters_needed(0.2, items=30)
    photos = int(str(caught.value).split("take ")[1].split()[0])
    assert raters_needed(0.2, items=photos) > 0
    with pytest.raises(ValueError, match="no number"):
        raters_needed(0.2, items=photos - 1)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"difference": 0}, "the difference is 0"),
        ({"difference": float("nan")}, "the difference is nan"),
        ({"systems": 1}, "the number of systems is 1"),
        ({"items": 1}, "the number of photos is 1"),
        ({"items_per_rater": 31}, "photos a rater is 31; it must be 1 to 30"),
        ({"power": 1.0}, "the power is 1.0"),
        ({"alpha": 0.0}, "alpha is 0.0"),
    ],
)
def test_a_plan_out_of_range_is_refused_with_the_value(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        raters_needed(**({"difference": 0.3} | wrong))


def test_the_power_table_leaves_empty_what_no_number_of_raters_shows():
    table = power_table(items=(30, 120), differences=(0.1, 0.5)).set_index(["difference", "items"])["raters"]
    assert table.isna().to_list() == [True, True, False, False]
    assert table[0.5, 30] == raters_needed(0.5, items=30)
    assert table[0.5, 120] == raters_needed(0.5, items=120, items_per_rater=30)


# Simulated studies whose truth is known


def test_in_200_studies_intervals_cover_the_truth_and_false_alarms_are_rare_as_they_should_be():
    shares = check_ratings(200, FULL, means=(3.0, 3.0, 3.3), seed=1)
    assert shares["mean covered"] == pytest.approx(0.95, abs=0.03)
    assert shares["difference covered"] == pytest.approx(0.95, abs=0.03)
    assert shares["false alarm"] == pytest.approx(0.05, abs=0.02)
    # Why the test over raters is no headline: texts that came out well by chance look like a better system.
    assert shares["false alarm by Wilcoxon over raters"] > 0.1

    (pilot,) = rating_studies(1, (3.0, 3.0, 3.3), raters=300, items=200)
    effect = true_means((3.3,))[0] - true_means((3.0,))[0]
    predicted = chance_to_show(effect, 35, components=variance_components(pilot)["funny"])
    assert shares["effect shown"] == pytest.approx(predicted, abs=0.1)


def test_alphas_interval_covers_the_alpha_of_a_study_without_end():
    assert check_agreement(200, FULL)["alpha covered"] == pytest.approx(0.95, abs=0.03)
