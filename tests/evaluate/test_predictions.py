"""Predictions: drawn into a file that a cut run goes on with, and read from whatever system."""

import json

import pytest

from tests.evaluate.known_writer import KnownWriter, read_rows, save_rows
from tweetcap.evaluate.photos import EvaluationPhoto, read_corpus
from tweetcap.evaluate.predictions import Prediction, draw_predictions, match, photo_seed, read_predictions

PARAMETERS = {"count": 2, "temperature": 0.8, "top_p": 0.9, "guidance": 0.5, "max_length": 140, "seed": 0}


def draw(corpus, path, writer=None, parameters=PARAMETERS, **options):
    photos = read_corpus(corpus, "validation")
    said = []
    options = {"model": None, "parameters": parameters, "say": said.append} | options
    draw_predictions(writer or KnownWriter(), photos, list(photos), path, **options)
    return said


def without_times(path) -> list[dict]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in read_rows(path)]


def test_a_row_holds_the_texts_the_references_and_how_they_were_drawn(corpus, tmp_path):
    draw(corpus, tmp_path / "p.jsonl")
    row = read_rows(tmp_path / "p.jsonl")[0]
    assert row["photo_id"] == "p1" and row["photo"] == "photos/p1.jpg" and row["species"] == "犬"
    assert row["references"]["captions"] == ["犬が庭にいる"]
    assert row["references"]["tweets"][1] == {"tone": "大喜利", "style": "witty", "text": "終電を逃した1人"}
    assert row["description"] == "犬がいる"
    assert row["tweets"][0].keys() == {"text", "tone", "log_likelihood", "grounding"}
    assert row["candidates"] == {"passed": 2, "copy": 2, "unfinished": 1}  # the warm-up's are not counted
    assert row["seed"] == photo_seed(0, "p1") and row["seconds"] >= 0
    assert row["parameters"] == PARAMETERS | {"describe": True, "tweet": True}
    assert row["model"] == "embedded" and row["revision"].startswith("sha256:")


def test_a_run_cut_anywhere_goes_on_and_ends_as_one_that_was_not(corpus, tmp_path):
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    draw(corpus, whole)
    data = whole.read_bytes()
    first = data.index(b"\n") + 1
    for size in (0, 1, first - 1, first, first + 1, first + 40, len(data) - 1, len(data)):
        cut.write_bytes(data[:size])
        draw(corpus, cut)
        assert without_times(cut) == without_times(whole)


def test_what_is_drawn_already_is_not_drawn_again(corpus, tmp_path):
    draw(corpus, tmp_path / "p.jsonl")
    writer = KnownWriter()
    draw(corpus, tmp_path / "p.jsonl", writer)
    assert writer.written == 0


def test_a_file_of_other_settings_or_weights_is_refused_unchanged(corpus, tmp_path):
    path = tmp_path / "p.jsonl"
    draw(corpus, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"drawn with temperature 0\.8 and not 1\.2"):
        draw(corpus, path, parameters=PARAMETERS | {"temperature": 1.2})
    with pytest.raises(ValueError, match=r"drawn with revision sha256:\w+ and not 0123abc"):
        draw(corpus, path, model="someone/else")
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["no rows at all", '{"photo": "x"}\n', "[1]\n", "my notes\nmore\n"])
def test_a_file_that_is_no_such_run_s_is_refused_unchanged(corpus, tmp_path, text):
    path = tmp_path / "p.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="was not drawn by tweetcap"):
        draw(corpus, path)
    assert path.read_text(encoding="utf-8") == text


def test_a_broken_photo_is_told_kept_and_tried_again(corpus, tmp_path):
    path, photo = tmp_path / "p.jsonl", corpus / "photos" / "p2.jpg"
    good = photo.read_bytes()
    photo.write_bytes(good[:50])
    said = draw(corpus, path)
    assert len(said) == 1 and said[0].startswith("p2: ") and "damaged" in said[0]
    draw(corpus, path)  # the same error is not written twice
    assert [row["photo_id"] for row in read_rows(path)] == ["p1", "p2", "p3"]
    predictions, _, problems = read_predictions(path)
    assert [own.photo_id for own in predictions] == ["p1", "p3"]
    assert len(problems) == 1 and "p2 has no prediction" in problems[0]
    photo.write_bytes(good)
    assert draw(corpus, path) == []
    predictions, _, problems = read_predictions(path)
    assert sorted(own.photo_id for own in predictions) == ["p1", "p2", "p3"] and problems == []


def test_captions_alone_are_drawn_where_no_tweets_are_asked_for(corpus, tmp_path):
    writer = KnownWriter()
    draw(corpus, tmp_path / "p.jsonl", writer, tweet=False)
    assert writer.written == 0
    assert all(row["description"] and row["tweets"] == [] for row in read_rows(tmp_path / "p.jsonl"))


def test_other_systems_files_are_read(corpus, tmp_path):
    rows = [
        {"photo_id": "p1", "description": "犬だ"},
        {"photo": "somewhere/photos/p2.jpg", "tweets": ["猫だ", {"text": "ねこ", "tone": "ほっこり"}]},
        {
            "photo": "p3.jpg",
            "seed": 3,
            "tweets": [{"text": "x", "tone": "つぶやき", "log_likelihood": -1, "grounding": 1}],
        },
    ]
    predictions, made, problems = read_predictions(save_rows(tmp_path / "theirs.jsonl", rows))
    assert problems == [] and made == {}
    assert [own.texts for own in predictions] == [[], ["猫だ", "ねこ"], ["x"]]
    assert predictions[0].description == "犬だ" and predictions[1].description is None
    matched = match(predictions, read_corpus(corpus, "validation"))
    assert {name: photo.photo_id for name, photo in matched.items()} == {"p1": "p1", "p2": "p2", "p3": "p3"}


def test_rows_that_are_no_predictions_are_named_and_the_others_read(tmp_path):
    path = tmp_path / "theirs.jsonl"
    good = json.dumps({"photo_id": "a", "description": "犬"})
    lines = [
        good,
        "{",
        '{"photo_id": "b"}',
        '{"description": "犬"}',
        '{"photo_id": "c", "tweets": [{"text": 3}]}',
        "7",
        '{"photo_id": "d", "tweets": "犬だ"}',
        '{"photo_id": "e", "tweets": ["\\ud83d"]}',
        '{"photo_id": "f", "description": "犬", "references": {"captions": "犬"}}',
        "[" * 100_000,
        "",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    predictions, _, problems = read_predictions(path)
    assert [own.photo_id for own in predictions] == ["a"]
    assert [f"line {number} is no prediction" in problem for number, problem in enumerate(problems, 2)] == [True] * 9


def test_a_file_without_a_prediction_is_refused(tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    for name in ("empty.jsonl", "nowhere.jsonl"):
        with pytest.raises(ValueError, match=name):
            read_predictions(tmp_path / name)


def test_the_last_row_of_a_photo_counts(tmp_path):
    rows = [{"photo_id": "a", "description": "犬"}, {"photo_id": "a", "description": "猫"}]
    (own,), _, _ = read_predictions(save_rows(tmp_path / "p.jsonl", rows))
    assert own.description == "猫"


def test_what_is_not_a_number_or_no_settings_counts_as_missing(tmp_path):
    row = {"photo_id": "a", "tweets": [{"text": "犬", "grounding": float("nan")}], "seconds": float("inf")}
    (own,), made, _ = read_predictions(save_rows(tmp_path / "p.jsonl", [row | {"parameters": "fast"}]))
    assert own.tweets[0].grounding is None and own.seconds is None and made == {}


def test_an_id_is_matched_before_another_photo_s_file_of_that_name():
    photos = [EvaluationPhoto("1", "a/2.jpg", None, (), ()), EvaluationPhoto("2", "a/1.jpg", None, (), ())]
    predictions = [Prediction("1", "1", None, "犬", ()), Prediction("2", "2", None, "猫", ())]
    assert {name: photo.photo_id for name, photo in match(predictions, photos).items()} == {"1": "1", "2": "2"}
