"""The figures of the evaluation, on numbers that can be worked out by hand."""

import math

import pytest

from tweetcap.evaluate.metrics import (
    animal_counts,
    copies,
    distinct_n,
    first_rank_chance,
    ratio,
    relative_distinct,
    words_of,
)
from tweetcap.write.filters import fold


def test_words_are_unidic_words_without_white_space():
    assert words_of("犬が 走る\n") == ["犬", "が", "走る"]


def test_distinct_n_counts_different_n_grams_over_all_texts():
    assert distinct_n(["犬が走る"], 2) == 1
    assert distinct_n(["犬が走る", "犬が走る"], 2) == 0.5
    assert distinct_n(["犬が走る", "犬が寝る"], 2) == 3 / 4
    assert math.isnan(distinct_n(["犬"], 2))


def test_n_grams_do_not_cross_from_text_to_text():
    assert distinct_n(["犬が", "走る犬", "が走る"], 2) == 1


def test_relative_distinct_compares_equal_counts():
    references = [f"犬が{number}匹いる" for number in ("一", "二", "三", "四")]
    assert relative_distinct(references, references * 3) > 1
    assert relative_distinct(references[:2], references) == pytest.approx(1)
    assert relative_distinct(references, references) == 1
    assert math.isnan(relative_distinct([], references))


def test_copies_are_found_behind_signs_and_emoji_and_nowhere_else():
    training = {fold("犬が走ってる！")}
    texts = ["犬が 走ってる😂", "犬が走ってるよ", "！", "😂"]
    assert copies(texts, training | {fold("…")}) == ["犬が 走ってる😂"]


def test_animal_counts_tell_naming_from_naming_wrong():
    assert animal_counts(["犬だ", "猫だ", "かわいい", "犬と猫"], "犬") == (3, 1)


def test_a_ratio_is_that_of_the_sums_and_lies_in_its_interval():
    estimate = ratio([1, 0, 3, 2], [2, 2, 4, 2])
    assert estimate.value == 0.6
    assert estimate.low < estimate.value < estimate.high
    assert estimate == ratio([1, 0, 3, 2], [2, 2, 4, 2])


def test_a_ratio_without_spread_has_no_interval_and_one_of_nothing_is_not_a_number():
    same = ratio([1, 2, 3], [2, 4, 6])
    assert (same.low, same.value, same.high) == (0.5, 0.5, 0.5)
    assert math.isnan(ratio([0, 0], [0, 0]).value)
    assert math.isnan(ratio([], []).value)


def test_more_photos_narrow_the_interval():
    few, many = ratio([0, 1] * 10, [1] * 20), ratio([0, 1] * 1000, [1] * 2000)
    assert many.high - many.low < (few.high - few.low) / 5


def test_rank_chance_is_one_at_the_top_and_zero_at_the_bottom():
    scores = [[3, 1, 2], [9, 1, 2], [1, 2, 2]]
    assert first_rank_chance(scores, among=3) == [1, 0, 0]  # a tie is no first rank


def test_rank_chance_among_fewer_photos_is_that_of_random_distractors():
    # One of the three others scores higher: a random one beats the own photo one time in three.
    scores = [[2, 3, 1, 0], [0, 5, 0, 0], [0, 0, 5, 0], [0, 0, 0, 5]]
    assert first_rank_chance(scores, among=2) == [pytest.approx(2 / 3), 1, 1, 1]


def test_rank_chance_takes_all_photos_where_there_are_fewer_than_asked():
    assert first_rank_chance([[1]], among=20) == [1]


def test_a_score_matrix_that_is_not_square_is_refused():
    with pytest.raises(ValueError, match=r"\(1, 2\)"):
        first_rank_chance([[1, 2]])
