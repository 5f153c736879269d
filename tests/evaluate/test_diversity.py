"""Diversity on texts of which it can be worked out by hand, and by the reference scorers."""

import math

import numpy as np
import pytest
from pycocoevalcap.cider.cider import Cider
from sacrebleu.metrics import BLEU

from tweetcap.evaluate.diversity import (
    Rarity,
    cider_kernel,
    distinct,
    photo_self_cider,
    self_bleu,
    self_cider,
    vocabulary,
)
from tweetcap.evaluate.measures import value
from tweetcap.evaluate.words import spaced, words_of

DOCUMENTS = [
    ["犬が草の上を走っている"],
    ["猫が箱の中で寝ている"],
    ["馬が柵のそばに立っている"],
    ["鳥が枝にとまっている"],
]


def test_words_are_unidic_words_without_white_space():
    assert words_of("犬が 走る\n") == ("犬", "が", "走る")
    assert spaced("犬が 走る\n") == "犬 が 走る"


def test_distinct_n_counts_different_n_grams_over_all_texts():
    assert value(distinct([["犬が走る"]], 2)) == 1
    assert value(distinct([["犬が走る", "犬が走る"]], 2)) == 0.5
    assert value(distinct([["犬が走る"], ["犬が寝る"]], 2)) == 3 / 4
    assert math.isnan(value(distinct([["犬"]], 2)))


def test_n_grams_do_not_cross_from_text_to_text():
    assert value(distinct([["犬が", "走る犬"], ["が走る"]], 2)) == 1


def test_the_vocabulary_is_the_number_of_different_words():
    assert value(vocabulary([["犬が走る", "犬が寝る"], ["猫"]])) == 5


def test_self_bleu_is_sacrebleu_s_of_each_text_against_the_others():
    texts = [["犬が草の上を走る", "犬が草の上を走っている", "猫が寝る"], ["鳥が飛ぶ空", "鳥が飛ぶ海"], ["一つだけ"]]
    alone = ["犬が草の上を走る", "犬が草の上を走っている", "猫が寝る", "鳥が飛ぶ空", "鳥が飛ぶ海"]
    streams = [
        ["犬が草の上を走っている", "犬が草の上を走る", "犬が草の上を走る", "鳥が飛ぶ海", "鳥が飛ぶ空"],
        ["猫が寝る", "猫が寝る", "犬が草の上を走っている", None, None],
    ]
    metric = BLEU(tokenize="none", force=True)
    streams = [[None if text is None else spaced(text) for text in stream] for stream in streams]
    assert value(self_bleu(texts)) == pytest.approx(
        metric.corpus_score([spaced(text) for text in alone], streams).score
    )
    assert value(self_bleu([["犬が草の上を走る"] * 3])) == pytest.approx(100)


def test_self_cider_is_0_for_equal_texts_and_1_for_texts_without_a_common_n_gram():
    rarity = Rarity(DOCUMENTS)
    assert photo_self_cider(["犬が草の上を走っている"] * 5, rarity) == pytest.approx(0, abs=1e-6)
    assert photo_self_cider(["犬 猫 馬 鳥", "草 上 柵 枝", "赤 青 白 黒"], rarity) == pytest.approx(1)
    assert math.isnan(photo_self_cider(["犬がいる"], rarity))


def test_self_cider_of_two_texts_is_that_of_the_two_eigenvalues():
    # Two texts of four words, of which the first two agree: cosines 2/4, 1/3, 0, 0 for n = 1 to 4, if all words are
    # equally rare; the kernel is [[1, c], [c, 1]] with the eigenvalues 1 + c and 1 - c.
    texts = ["赤 青 白 黒", "赤 青 緑 紫"]
    rarity = Rarity([["犬"], ["猫"]])
    c = (2 / 4 + 1 / 3) / 4
    assert cider_kernel(texts, rarity) == pytest.approx(np.array([[1, c], [c, 1]]))
    high, low = math.sqrt(1 + c), math.sqrt(1 - c)
    assert photo_self_cider(texts, rarity) == pytest.approx(-math.log(high / (high + low)) / math.log(2))


def test_the_kernel_is_pycocoevalcap_s_cider_where_neither_clipping_nor_length_matters():
    # Texts of one length without repeated words: there CIDEr-D is CIDEr.
    texts = ["犬が草の上を走る", "犬が柵の上を飛ぶ"]
    assert len(words_of(texts[0])) == len(words_of(texts[1]))
    documents = [[texts[1]], *DOCUMENTS[1:]]
    references = {place: [spaced(text) for text in own] for place, own in enumerate(documents)}
    taken = {0: [spaced(texts[0])]} | {place: ["無"] for place in range(1, len(documents))}
    _, scores = Cider().compute_score(references, taken)
    assert cider_kernel(texts, Rarity(documents))[0, 1] == pytest.approx(scores[0] / 10)


def test_photos_with_fewer_than_two_texts_add_nothing_to_self_cider():
    texts = [["犬が走る", "草が揺れる"], ["犬"], []]
    one = photo_self_cider(texts[0], Rarity(DOCUMENTS))
    assert value(self_cider(texts, DOCUMENTS)) == pytest.approx(one)
    assert math.isnan(value(self_cider([["犬"], []], DOCUMENTS)))


def test_words_that_every_photo_has_tell_nothing():
    assert math.isnan(photo_self_cider(["犬", "犬"], Rarity([["犬"]])))
