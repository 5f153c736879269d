"""Ranking prefers likely and grounded texts, and lets the tones take turns."""

from tweetcap.write.ranking import Contender, choose, score
from tweetcap.write.sampling import Candidate


def candidate(log_likelihood: float, null: float | None = None, tokens: int = 4) -> Candidate:
    return Candidate([300] * (tokens - 1), True, log_likelihood, log_likelihood if null is None else null)


def test_the_likelier_and_the_better_grounded_text_scores_higher():
    assert score("猫だ", candidate(-4.0)) > score("猫だ", candidate(-6.0))
    assert score("猫だ", candidate(-4.0, null=-9.0)) > score("猫だ", candidate(-4.0, null=-4.0))


def test_a_noun_said_twice_costs_and_a_doubled_kana_cry_does_not():
    assert score("馬と馬が並んでる", candidate(-4.0)) < score("馬とロバが並んでる", candidate(-4.0))
    assert score("もぐもぐ、もぐもぐ", candidate(-4.0)) == score("ごはんを食べてる", candidate(-4.0))


def test_tones_take_turns_and_the_best_of_all_comes_first():
    candidates = [
        Contender("猫が箱に入った", "つぶやき", "plain", candidate(-1.0)),
        Contender("朝からずっと寝てる", "つぶやき", "plain", candidate(-2.0)),
        Contender("なんでそこ", "ツッコミ", "plain", candidate(-8.0)),
        Contender("会議中の私", "大喜利", "plain", candidate(-6.0)),
    ]
    chosen = choose(candidates, 4)
    assert [contender.tone for contender in chosen] == ["つぶやき", "大喜利", "ツッコミ", "つぶやき"]
    assert choose(candidates, 2) == chosen[:2]


def test_near_copies_are_offered_once():
    candidates = [
        Contender("猫が箱に入った", "つぶやき", "plain", candidate(-1.0)),
        Contender("猫が箱に入った！", "ほっこり", "plain", candidate(-1.5)),
    ]
    assert [contender.text for contender in choose(candidates, 5)] == ["猫が箱に入った"]


def test_texts_to_avoid_and_their_near_copies_are_not_offered():
    candidates = [
        Contender("猫が箱に入った", "つぶやき", "plain", candidate(-1.0)),
        Contender("会議中の私", "大喜利", "witty", candidate(-6.0)),
    ]
    assert [contender.text for contender in choose(candidates, 5, avoid=["猫が箱に入った！"])] == ["会議中の私"]


def test_the_order_of_candidates_does_not_matter():
    candidates = [Contender(f"{word}がいる", "つぶやき", "plain", candidate(-2.0)) for word in ("猫", "犬", "鳥", "馬")]
    assert choose(candidates, 3) == choose(candidates[::-1], 3)
