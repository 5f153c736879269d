"""Who is left out of a questionnaire, and why."""

import json

import pandas as pd
import pytest

from tweetcap.evaluate.survey.screening import Rules, read_rules, screen

ITEMS = 12
VARIED = [1, 2, 3, 4, 5, 4, 3, 2, 1, 2, 3, 4]


def rater(name, scores=VARIED, *, seconds=10.0, attention=(4,), gold=()) -> list[dict]:
    """Return a rater's rows: scores of items, answers to checks that say 4, and to gold items known to be 1."""
    rows = [("item", score, None) for score in scores]
    rows += [("attention", score, 4) for score in attention] + [("gold", score, 1) for score in gold]
    return [
        {
            "rater": name,
            "item": f"{kind}{place}",
            "kind": kind,
            "score": score,
            "expected": expected,
            "seconds": seconds,
            "position": place,
            "block": 0,
        }
        for place, (kind, score, expected) in enumerate(rows, start=1)
    ]


def screened(*raters: list[dict], rules=Rules()) -> pd.DataFrame:  # noqa: B008
    frame = pd.DataFrame([row for own in raters for row in own])
    frame["expected"] = frame["expected"].astype("Int64")
    return screen(frame, rules, {0: ITEMS}).set_index("rater")


GOOD = [rater(f"good{n}") for n in range(3)]


def test_who_did_as_asked_is_kept():
    table = screened(*GOOD, rater("also", attention=(4, 4), gold=(1, 2)))
    assert table["kept"].all() and (table["reasons"] == "").all()
    assert table.loc["also", ["complete", "attention", "gold", "seconds"]].to_list() == [1, 1, 1, 10]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"attention": (4, 1, 2)}, "failed the attention checks"),
        ({"gold": (1, 3, 5)}, "failed the gold items"),
        ({"seconds": 3.2}, "too fast"),
        ({"scores": [3] * ITEMS}, "always the same answer"),
        ({"scores": VARIED[:5]}, "incomplete"),
    ],
)
def test_each_rule_leaves_out_who_breaks_it(bad, reason):
    table = screened(*GOOD, rater("bad", **bad))
    assert table["kept"].to_dict() == {"bad": False, "good0": True, "good1": True, "good2": True}
    assert table.loc["bad", "reasons"] == reason


def test_all_reasons_are_named():
    bad = rater("bad", [3] * ITEMS, seconds=1.0, attention=(1,))
    reasons = screened(*GOOD, bad).loc["bad", "reasons"]
    assert reasons == "failed the attention checks, too fast, always the same answer"


def test_half_is_enough_where_half_is_asked_for():
    table = screened(*GOOD, rater("half", VARIED[:6], attention=(4, 1), gold=(1, 5)))
    assert table["kept"].all()


def test_few_equal_answers_can_be_chance():
    assert screened(*GOOD, rater("few", [3] * 9)).loc["few", "kept"]


def test_a_rule_that_is_off_leaves_nobody_out():
    off = Rules(attention=None, gold=None, speed=None, same=None, complete=None)
    bad = rater("bad", [3] * 2, seconds=0.1, attention=(1,), gold=(5,))
    assert screened(*GOOD, bad, rules=off)["kept"].all()


def test_who_answered_checks_only_is_incomplete():
    table = screened(*GOOD, rater("bad", []))
    assert table.loc["bad", "items"] == 0
    assert table.loc["bad", "reasons"] == "incomplete"


def test_seconds_are_those_of_a_task_however_many_questions_it_has():
    rows = rater("slow")[:3]
    for row, seconds in zip(rows, (1, 9, 20), strict=True):
        row["seconds"] = seconds
    assert screened(*GOOD, rows + rows[:1] * 3).loc["slow", "seconds"] == 9


def test_always_the_same_side_is_found_and_checks_have_sides():
    def choices(name, sides, check):
        rows = rater(name, sides, attention=(check,))
        return [
            row | {"choice": row["score"], "expected": "left" if row["kind"] == "attention" else None} for row in rows
        ]

    sides = ["left", "right", "tie"] * 4
    rows = choices("good", sides, "left") + choices("wrong", sides, "right") + choices("same", ["left"] * ITEMS, "left")
    table = screen(pd.DataFrame(rows).drop(columns="score"), Rules(), {0: ITEMS}).set_index("rater")
    assert table["reasons"].to_dict() == {
        "good": "",
        "wrong": "failed the attention checks",
        "same": "always the same answer",
    }


def test_rules_are_read_from_the_study_and_are_the_default_ones_without(tmp_path):
    assert read_rules(tmp_path) == Rules()
    (tmp_path / "rules.json").write_text(json.dumps({"speed": 0.5, "gold": None}))
    assert read_rules(tmp_path) == Rules(speed=0.5, gold=None)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "rules.json can't be read"),
        ("[]", "is not a JSON object"),
        ('{"hurry": 1}', "has the rule hurry, which is unknown; choose from attention, gold, speed, same, complete"),
        ('{"speed": 30}', "the rule speed is 30; it must be a share from 0 to 1"),
        ('{"gold": "all"}', "the rule gold is 'all'"),
        ('{"gold": true}', "the rule gold is True"),
        ('{"gold": NaN}', "the rule gold is nan"),
    ],
)
def test_rules_that_make_no_sense_are_named(tmp_path, text, sentence):
    (tmp_path / "rules.json").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        read_rules(tmp_path)
