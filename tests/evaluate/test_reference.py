"""BLEU, chrF, ROUGE-L and CIDEr-D are those of the reference implementations, whole and resampled."""

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from sacrebleu.metrics import BLEU, CHRF

from tweetcap.evaluate.measures import value
from tweetcap.evaluate.reference import cider_scores, reference_measures
from tweetcap.evaluate.words import spaced

TEXTS = [
    ["茶色い犬が草の上を走っている"],
    ["白い猫が箱の中で寝ている"],
    ["二頭の馬が柵のそばに立っている"],
    ["大きなゾウが川で水を飲んでいる😂"],
    ["鳥"],
]
REFERENCES = [
    ["茶色の犬が芝生の上を走っている", "犬が草の上を元気に走る", "走っている茶色い犬"],
    ["白い猫が段ボール箱の中で丸くなって寝ている"],
    ["柵のそばに馬が二頭立っている", "二頭の馬が草を食べている"],
    ["ゾウが川で水を飲んでいる", "川の中に大きなゾウがいる", "水を飲むゾウ", "ゾウだ！"],
    ["枝に小さな鳥がとまっている", "鳥が枝にいる"],
]


def coco(texts, references):
    return (
        {place: [spaced(reference) for reference in theirs] for place, theirs in enumerate(references)},
        {place: [spaced(own[0])] for place, own in enumerate(texts)},
    )


def sacre_streams(references):
    """Return one stream a reference number, None where a text has fewer."""
    most = max(map(len, references))
    return [[spaced(own[n]) if n < len(own) else None for own in references] for n in range(most)]


def by_sacrebleu(texts, references, metric):
    flat = [(text, theirs) for own, theirs in zip(texts, references, strict=True) for text in own]
    return metric.corpus_score([spaced(text) for text, _ in flat], sacre_streams([theirs for _, theirs in flat])).score


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_bleu_is_sacrebleu_s(order):
    metric = BLEU(tokenize="none", force=True, max_ngram_order=order)
    assert value(reference_measures(TEXTS, REFERENCES)[f"BLEU-{order}"]) == pytest.approx(
        by_sacrebleu(TEXTS, REFERENCES, metric)
    )


def test_bleu_is_coco_s_times_100():
    scores, _ = Bleu(4).compute_score(*coco(TEXTS, REFERENCES), verbose=0)
    measures = reference_measures(TEXTS, REFERENCES)
    assert [value(measures[f"BLEU-{n}"]) for n in range(1, 5)] == pytest.approx([100 * score for score in scores])


def test_chrf_is_sacrebleu_s():
    assert value(reference_measures(TEXTS, REFERENCES)["chrF"]) == pytest.approx(
        by_sacrebleu(TEXTS, REFERENCES, CHRF())
    )


def test_rouge_and_cider_are_pycocoevalcap_s():
    measures = reference_measures(TEXTS, REFERENCES)
    assert value(measures["ROUGE-L"]) == pytest.approx(Rouge().compute_score(*coco(TEXTS, REFERENCES))[0])
    assert value(measures["CIDEr-D"]) == pytest.approx(Cider().compute_score(*coco(TEXTS, REFERENCES))[0])


def test_a_text_that_shares_nothing_scores_as_sacrebleu_says():
    texts, references = [["青い空"], ["犬がいる"]], [["黒い猫だ"], ["犬がいない"]]
    measures = reference_measures(texts, references)
    for order in (1, 2, 3, 4):
        metric = BLEU(tokenize="none", force=True, max_ngram_order=order)
        assert value(measures[f"BLEU-{order}"]) == pytest.approx(by_sacrebleu(texts, references, metric))
    nothing = reference_measures([["青い空"], [""]], [["黒猫だ"], ["犬がいる"]])
    assert value(nothing["BLEU-4"]) == value(nothing["chrF"]) == value(nothing["CIDEr-D"]) == 0


def test_several_texts_a_photo_are_each_compared_with_all_references():
    texts = [["犬が走る", "草の上の犬"], ["猫が寝ている"]]
    references = [["犬が草の上を走る", "走る犬"], ["猫が箱で寝ている"]]
    measures = reference_measures(texts, references)
    flat, repeated = [["犬が走る"], ["草の上の犬"], ["猫が寝ている"]], [references[0], references[0], references[1]]
    assert value(measures["BLEU-2"]) == pytest.approx(
        by_sacrebleu(flat, repeated, BLEU(tokenize="none", force=True, max_ngram_order=2))
    )
    assert value(measures["ROUGE-L"]) == pytest.approx(Rouge().compute_score(*coco(flat, repeated))[0])
    # The first texts of both photos, then the second of the first photo: two documents each time.
    first = Cider().compute_score(*coco([["犬が走る"], ["猫が寝ている"]], references))[1]
    second = Cider().compute_score(*coco([["草の上の犬"], [""]], references))[1]
    assert cider_scores(texts, references) == [pytest.approx([first[0], second[0]]), pytest.approx([first[1]])]


def test_a_photo_without_texts_or_references_adds_nothing():
    more = reference_measures([*TEXTS, [], ["犬"]], [*REFERENCES, [], []])
    for name, measure in reference_measures(TEXTS, REFERENCES).items():
        assert value(more[name]) == pytest.approx(value(measure))


def test_a_resampled_corpus_scores_as_if_it_were_the_corpus():
    drawn = [0, 0, 3, 1, 3]
    weights = np.bincount(drawn, minlength=len(TEXTS)).astype(float)[None]
    measures = reference_measures(TEXTS, REFERENCES)
    texts, references = [TEXTS[place] for place in drawn], [REFERENCES[place] for place in drawn]
    for order in (1, 2, 3, 4):
        metric = BLEU(tokenize="none", force=True, max_ngram_order=order)
        assert measures[f"BLEU-{order}"].values(weights)[0] == pytest.approx(by_sacrebleu(texts, references, metric))
    assert measures["chrF"].values(weights)[0] == pytest.approx(by_sacrebleu(texts, references, CHRF()))
    assert measures["ROUGE-L"].values(weights)[0] == pytest.approx(Rouge().compute_score(*coco(texts, references))[0])
