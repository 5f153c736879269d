"""Ranking prefers texts that readers find good, and lets the tones take turns."""

import pytest

from tweetcap.model import TWEET_TONES
from tweetcap.write.ranking import Contender, choose, score
from tweetcap.write.sampling import Candidate


def candidate(log_likelihood: float, null: float | None = None, tokens: int = 4) -> Candidate:
    return Candidate([300] * (tokens - 1), True, log_likelihood, log_likelihood if null is None else null)


def score_of(text: str, drawn: Candidate, tone: str = "ツッコミ", sights: float = 0.0) -> float:
    return score(Contender(text, tone, drawn, sights))


@pytest.mark.parametrize("tone", TWEET_TONES)
def test_words_that_go_with_the_photo_raise_a_text_of_any_tone(tone):
    drawn = candidate(-10.0, null=-12.0)
    assert score_of("雪だ", drawn, tone, sights=2.0) > score_of("雪だ", drawn, tone, sights=-2.0)


@pytest.mark.parametrize("tone", ["ツッコミ", "アフレコ", "ほっこり", "大喜利"])
def test_a_text_that_is_unlikely_in_every_way_sinks(tone):
    assert score_of("雪だ", candidate(-8.0, null=-10.0), tone) > score_of("雪だ", candidate(-45.0, null=-47.0), tone)


def test_a_text_beyond_all_likelihood_still_has_a_score():
    assert 0 <= score_of("猫だ", candidate(-50_000.0)) < score_of("猫だ", candidate(-10.0)) < 2


def test_a_noun_said_twice_costs_and_a_doubled_kana_cry_does_not():
    drawn = candidate(-10.0)
    assert score_of("馬と馬の会議", drawn, "大喜利") < score_of("馬とロバの会議", drawn, "大喜利")
    assert score_of("もぐもぐ、もぐもぐ", drawn, "大喜利") == score_of("ごはんを食べてる", drawn, "大喜利")


def test_tones_take_turns_and_the_best_of_all_comes_first():
    candidates = [
        Contender("会議中の私", "大喜利", candidate(-6.0)),
        Contender("夏休み最後の日", "大喜利", candidate(-7.0)),
        Contender("朝からずっと寝てる", "つぶやき", candidate(-40.0)),
    ]
    assert [contender.tone for contender in choose(candidates, 3)] == ["大喜利", "つぶやき", "大喜利"]
    assert choose(candidates, 2) == choose(candidates, 3)[:2]


def test_near_copies_are_offered_once():
    candidates = [
        Contender("猫が箱に入った", "つぶやき", candidate(-10.0)),
        Contender("猫が箱に入った！", "つぶやき", candidate(-15.0, null=-30.0)),
    ]
    assert [contender.text for contender in choose(candidates, 5)] == ["猫が箱に入った"]


def test_texts_to_avoid_and_their_near_copies_are_not_offered():
    candidates = [
        Contender("猫が箱に入った", "つぶやき", candidate(-10.0)),
        Contender("会議中の私", "大喜利", candidate(-60.0)),
    ]
    assert [contender.text for contender in choose(candidates, 5, avoid=["猫が箱に入った！"])] == ["会議中の私"]


def test_the_order_of_candidates_does_not_matter():
    candidates = [Contender(f"{word}がいる", "つぶやき", candidate(-20.0)) for word in ("猫", "犬", "鳥", "馬")]
    assert choose(candidates, 3) == choose(candidates[::-1], 3)
