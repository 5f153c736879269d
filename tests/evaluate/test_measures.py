"""Figures, intervals and tests on numbers that can be worked out by hand or by another route."""

import itertools
import math

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from tweetcap.evaluate.diversity import distinct
from tweetcap.evaluate.measures import (
    Kinds,
    Quantile,
    RelativeKinds,
    Sums,
    differences,
    estimates,
    holm,
    mean_of_texts,
    ratio,
    total,
    value,
)

WORDS = ("犬", "猫", "馬", "牛", "羊", "鳥", "魚", "熊")


def kinds(*texts_of_photos: list[str], shared: bool = True) -> Kinds:
    return Kinds([[[(word,) for word in text] for text in texts] for texts in texts_of_photos], shared)


def test_a_ratio_is_that_of_the_sums_and_lies_in_its_interval():
    (estimate,) = estimates([ratio([1, 0, 3, 2], [2, 2, 4, 2])])
    assert estimate.value == 0.6
    assert estimate.low < estimate.value < estimate.high
    assert [estimate] == estimates([ratio([1, 0, 3, 2], [2, 2, 4, 2])])


def test_a_ratio_without_spread_has_no_interval_and_one_of_nothing_is_not_a_number():
    same, nothing = estimates([ratio([1, 2, 3], [2, 4, 6]), ratio([0, 0, 0], [0, 0, 0])])
    (empty,) = estimates([ratio([], [])])
    assert same.low == pytest.approx(0.5) and same.value == 0.5 and same.high == pytest.approx(0.5)
    assert math.isnan(nothing.value) and math.isnan(nothing.low)
    assert math.isnan(empty.value)


def test_more_photos_narrow_the_interval():
    few, many = (estimates([ratio([0, 1] * half, [1] * (2 * half))])[0] for half in (10, 1000))
    assert many.high - many.low < (few.high - few.low) / 5


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    numbers = np.random.default_rng(1).normal(5, 2, 400)
    (estimate,) = estimates([ratio(numbers, np.ones(400))])
    error = 1.96 * numbers.std() / 20
    assert (estimate.low, estimate.high) == pytest.approx((numbers.mean() - error, numbers.mean() + error), abs=0.03)


def test_the_mean_of_texts_weighs_texts_and_a_total_counts():
    assert value(mean_of_texts([[1, 2, 3], [], [6]])) == 3
    assert value(Sums(mean_of_texts([[1, 0, 1], [1]]).rows, total)) == 3


def test_blocks_of_any_size_give_the_same_interval(monkeypatch):
    measure = ratio(np.arange(50), np.ones(50))
    (whole,) = estimates([measure])
    monkeypatch.setattr("tweetcap.evaluate.measures.BLOCK", 50 * 7)
    (blocked,) = estimates([measure])
    assert blocked == whole


# --- Kinds of words -------------------------------------------------------------------------------


def test_kinds_are_counted_over_all_photos_and_divided_by_all_n_grams():
    measure = kinds(["ab", "ac"], ["aa"])
    assert value(measure) == 3 / 6
    assert value(kinds(["ab", "ac"], ["aa"], shared=False)) == 3


def test_the_jackknife_of_a_vocabulary_is_that_of_leaving_out_photo_by_photo():
    measure = kinds(["ab", "ac"], ["aa"], ["xyz"], shared=False)  # 6 words; without each photo 4, 6, 3
    (estimate,) = estimates([measure])
    left = np.array([4, 6, 3])
    error = 1.959964 * math.sqrt(2 * left.var())
    assert (estimate.low, estimate.high) == pytest.approx((6 - error, 6 + error))


def test_texts_drawn_at_random_have_the_expected_number_of_kinds():
    rng = np.random.default_rng(0)
    texts = [["".join(rng.choice(list("abcdefghij"), 3)) for _ in range(2)] for _ in range(6)]
    measure, everything = kinds(*texts), [text for own in texts for text in own]
    # Every way to draw 3 of the 12 texts; all have 3 words, so distinct-1 is the kinds ÷ 9.
    drawn = [len(set("".join(three))) / 9 for three in itertools.combinations(everything, 3)]
    assert measure.rarefied(np.ones((1, 6)), np.array([3.0]))[0] == pytest.approx(np.mean(drawn))
    assert measure.rarefied(np.ones((1, 6)), np.array([12.0]))[0] == pytest.approx(value(measure))


def test_relative_kinds_compare_equal_numbers_of_texts():
    references = [[f"{word}がいる"] for word in WORDS]
    same, thrice = distinct(references, 2), distinct([own * 3 for own in references], 2)
    assert value(RelativeKinds(same, same)) == 1
    assert value(RelativeKinds(same, thrice)) > 1
    assert value(RelativeKinds(distinct([["犬がいる"]], 2), distinct([["犬がいる"]], 2))) == 1
    assert math.isnan(value(RelativeKinds(distinct([[]], 2), distinct([["犬がいる"]], 2))))


# --- Quantiles ------------------------------------------------------------------------------------


def test_quantiles_are_numbers_of_photos_and_ignore_photos_without_one():
    numbers = np.array([5.0, math.nan, 1.0, 3.0])
    assert value(Quantile(numbers, 0.5)) == 3
    assert value(Quantile(numbers, 0.95)) == 5
    assert math.isnan(value(Quantile(np.array([math.nan]), 0.5)))
    (estimate,) = estimates([Quantile(np.arange(101.0), 0.5)])
    assert estimate.low < 50 == estimate.value < estimate.high


# --- Two systems ----------------------------------------------------------------------------------


def test_the_test_agrees_with_all_ways_to_swap():
    ours, theirs = np.array([3, 5, 4, 6, 2, 7.0]), np.array([1, 4, 4, 2, 3, 3.0])
    (found,) = differences([(ratio(ours, np.ones(6)), ratio(theirs, np.ones(6)))])
    gains = ours - theirs
    every_way = [abs(np.dot(signs, gains)) for signs in itertools.product((-1, 1), repeat=6)]
    exact = np.mean([way >= abs(gains.sum()) - 1e-12 for way in every_way])
    assert found.p == pytest.approx(exact, abs=0.012)  # 10,000 shuffles
    assert found.estimate.value == pytest.approx(gains.mean())
    assert found.estimate.low < gains.mean() < found.estimate.high


def test_a_system_is_no_better_than_itself():
    measures = [ratio([1, 0, 2], [1, 1, 2]), kinds(["ab"], ["bc"], ["a"])]
    for found in differences([(measure, measure) for measure in measures]):
        assert found.p == 1
        assert found.estimate.value == found.estimate.low == found.estimate.high == 0


def test_a_shuffle_without_a_figure_makes_no_difference_look_rarer():
    ours, theirs = ratio([1, 0], [1, 0]), ratio([0, 0], [0, 1])  # each system wrote about another photo
    (found,) = differences([(ours, theirs)])
    assert found.estimate.value == 1 and found.p == 1


def test_what_is_plainly_better_is_found_whatever_the_measure():
    rich = kinds(*[[WORDS[n % 8] + str(n)] for n in range(40)])
    poor = kinds(*[["ab"] for _ in range(40)])
    (found,) = differences([(rich, poor)])
    assert found.p < 0.001 and found.estimate.low > 0


def test_pairing_finds_what_photos_of_different_difficulty_hide():
    difficulty = np.random.default_rng(0).normal(0, 10, 60)
    gains = 0.5 + np.random.default_rng(1).normal(0, 0.3, 60)
    (found,) = differences([(ratio(difficulty + gains, np.ones(60)), ratio(difficulty, np.ones(60)))])
    assert found.p < 0.001
    assert found.estimate.low > 0.3


def test_chance_alone_is_called_a_difference_one_time_in_twenty(monkeypatch):
    monkeypatch.setattr("tweetcap.evaluate.measures.SHUFFLES", 1000)
    rng = np.random.default_rng(3)
    pairs = [(ratio(rng.normal(size=50), np.ones(50)), ratio(rng.normal(size=50), np.ones(50))) for _ in range(400)]
    shares = np.mean([found.p <= 0.05 for found in differences(pairs)])
    assert 0.03 <= shares <= 0.07


def test_holm_agrees_with_statsmodels_and_skips_what_is_no_test():
    p_values = [0.01, 0.04, 0.03, 0.5, 0.005]
    expected = multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(expected.tolist())
    adjusted = holm([0.01, math.nan, 0.04])
    assert adjusted[0] == 0.02 and math.isnan(adjusted[1]) and adjusted[2] == 0.04
    assert holm([]) == []
