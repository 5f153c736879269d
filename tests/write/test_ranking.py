"""Ranking prefers likely and grounded texts, and lets the tones take turns."""

from tweetcap.write.ranking import Contender, choose, score
from tweetcap.write.sampling import Candidate


def candidate(log_likelihood: float, null: float | None = None, tokens: int = 4) -> Candidate:
    return Candidate([300] * (tokens - 1), True, log_likelihood, log_likelihood if null is None else null)


def score_of(text: str, drawn: Candidate) -> float:
    return score(Contender(text, "つぶやき", drawn))


def test_the_likelier_and_the_better_grounded_text_scores_higher():
    assert score_of("猫だ", candidate(-30.0)) > score_of("猫だ", candidate(-40.0))
    assert score_of("猫だ", candidate(-6.0, null=-11.0)) > score_of("猫だ", candidate(-6.0, null=-6.0))


def test_among_sound_texts_the_grounded_one_wins_over_the_likely_idiom():
    assert score_of("草を食べる羊", candidate(-9.0, null=-14.0)) > score_of("かわいすぎる", candidate(-4.0, null=-4.5))


def test_among_broken_texts_the_likelier_one_wins_over_the_grounded():
    assert score_of("羊だよ", candidate(-30.0)) > score_of("羊を羊だの", candidate(-55.0, null=-65.0))


def test_a_text_beyond_all_likelihood_still_has_a_score():
    assert score_of("猫だ", candidate(-5000.0)) < score_of("猫だ", candidate(-4000.0)) < 0


def test_a_noun_said_twice_costs_and_a_doubled_kana_cry_does_not():
    assert score_of("馬と馬が並んでる", candidate(-4.0)) < score_of("馬とロバが並んでる", candidate(-4.0))
    assert score_of("もぐもぐ、もぐもぐ", candidate(-4.0)) == score_of("ごはんを食べてる", candidate(-4.0))


def test_tones_take_turns_and_the_best_of_all_comes_first():
    candidates = [
        Contender("猫が箱に入った", "つぶやき", candidate(-10.0)),
        Contender("朝からずっと寝てる", "つぶやき", candidate(-20.0)),
        Contender("なんでそこ", "ツッコミ", candidate(-80.0)),
        Contender("会議中の私", "大喜利", candidate(-60.0)),
    ]
    chosen = choose(candidates, 4)
    assert [contender.tone for contender in chosen] == ["つぶやき", "大喜利", "ツッコミ", "つぶやき"]
    assert choose(candidates, 2) == chosen[:2]


def test_near_copies_are_offered_once():
    candidates = [
        Contender("猫が箱に入った", "つぶやき", candidate(-10.0)),
        Contender("猫が箱に入った！", "ほっこり", candidate(-15.0)),
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
