"""Ranking prefers likely and grounded texts, and lets the tones take turns."""

from tweetcap.write.ranking import choose, score
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
        ("猫が箱に入った", "つぶやき", candidate(-1.0)),
        ("朝からずっと寝てる", "つぶやき", candidate(-2.0)),
        ("なんでそこ", "ツッコミ", candidate(-8.0)),
        ("会議中の私", "大喜利", candidate(-6.0)),
    ]
    chosen = choose(candidates, 4)
    assert [tone for _, tone, _ in chosen] == ["つぶやき", "大喜利", "ツッコミ", "つぶやき"]
    assert choose(candidates, 2) == chosen[:2]


def test_near_copies_are_offered_once():
    candidates = [
        ("猫が箱に入った", "つぶやき", candidate(-1.0)),
        ("猫が箱に入った！", "ほっこり", candidate(-1.5)),
    ]
    assert [text for text, _, _ in choose(candidates, 5)] == ["猫が箱に入った"]


def test_the_order_of_candidates_does_not_matter():
    candidates = [(f"{word}がいる", "つぶやき", candidate(-2.0)) for word in ("猫", "犬", "鳥", "馬")]
    assert choose(candidates, 3) == choose(candidates[::-1], 3)
