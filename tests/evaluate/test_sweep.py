"""The sweep: every setting drawn once, a frontier, and a default that luck does not move."""

import csv

import pytest

from tests.evaluate.known_writer import KnownTweet, KnownWriter
from tweetcap.evaluate import sweep as module
from tweetcap.evaluate.photos import EvaluationPhoto, ReferenceTweet
from tweetcap.evaluate.predictions import PredictedTweet, Prediction
from tweetcap.evaluate.sweep import balance_of, choose, frontier, measure_setting, sweep

GRID = {"temperature": [0.8, 1.0], "guidance": [0.5], "top_p": [0.9]}
DEFAULT = (1.0, 0.5, 0.9)


class WilderWriter(KnownWriter):
    """Repeats itself at a low temperature."""

    def write(self, photo, *, temperature, **settings):
        tweets = super().write(photo, temperature=temperature, **settings)
        if temperature < 1:
            return tweets
        return [
            KnownTweet(f"{tweet.text}{word}", "つぶやき", -2.0, 0.5)
            for tweet, word in zip(tweets, "春夏秋冬朝", strict=True)
        ]


@pytest.fixture
def writer(monkeypatch):
    known = WilderWriter()
    monkeypatch.setattr(module.TweetWriter, "from_pretrained", lambda model=None: known)
    return known


def run(corpus, output, grid=GRID):
    said = []
    return sweep(corpus, output, grid, photos=3, say=said.append), said


def rows_of(output):
    with (output / "sweep.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_setting_is_drawn_measured_and_shown(corpus, writer, tmp_path):
    printed, said = run(corpus, tmp_path / "sweep")
    rows = rows_of(tmp_path / "sweep")
    assert [(row["temperature"], row["guidance"], row["top_p"]) for row in rows] == [
        ("0.8", "0.5", "0.9"),
        ("1.0", "0.5", "0.9"),
    ]
    assert float(rows[0]["distinct-2"]) < float(rows[1]["distinct-2"])
    assert printed.count("\n| ") == 3 and "3 photos" in printed
    assert (tmp_path / "sweep" / "sweep.md").read_text(encoding="utf-8").strip() == printed
    assert (tmp_path / "sweep" / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert said[-1].startswith("2 of 2")


def test_a_sweep_goes_on_where_it_was_cut_and_takes_new_settings(corpus, writer, tmp_path):
    run(corpus, tmp_path / "whole")
    output = tmp_path / "cut"
    run(corpus, output, GRID | {"temperature": [0.8]})
    drawn = writer.written
    run(corpus, output)
    assert writer.written == drawn + 4  # a warm-up and three photos of the new setting
    timeless = [{k: v for k, v in row.items() if "ms" not in k} for row in rows_of(output)]
    assert timeless == [{k: v for k, v in row.items() if "ms" not in k} for row in rows_of(tmp_path / "whole")]


def test_the_frontier_is_what_nothing_beats_in_both():
    assert frontier([(0.9, 0.1), (0.5, 0.5), (0.4, 0.4), (0.1, 0.9), (0.5, 0.5)]) == [True, True, False, True, True]


def tried(setting, texts_of, photos: int = 24):
    references = tuple(
        ReferenceTweet("つぶやき", "plain", text) for text in ("犬が庭を走る", "犬が庭を走っている", "庭の犬")
    )
    shown = [EvaluationPhoto(str(n), str(n), "犬", (), references if n % 2 else references[:1]) for n in range(photos)]
    others = EvaluationPhoto("other", "other", "猫", (), (ReferenceTweet("つぶやき", "plain", "猫が寝ている"),))
    predictions = [
        Prediction(str(n), str(n), "犬", None, tuple(PredictedTweet(text) for text in texts_of(n)))
        for n in range(photos)
    ]
    last = Prediction("other", "other", "猫", None, (PredictedTweet("猫が寝る"), PredictedTweet("夜の猫")))
    return measure_setting(setting, [*shown, others], [*predictions, last])


def test_a_default_moves_only_for_what_is_better_beyond_chance():
    poor = tried(DEFAULT, lambda n: ["空が青い", "海が青い"])
    rich = tried((0.8, 0.5, 0.9), lambda n: ["犬が庭を走る", "空が青い夜"])
    place, why = choose([poor, rich], balance_of([poor, rich]))
    assert place == 1 and "take it" in why
    same = tried((0.8, 0.5, 0.9), lambda n: ["空が青い", "海が青い"] if n else ["犬が庭を走る", "海が青い"])
    place, why = choose([poor, same], balance_of([poor, same]))
    assert place == 0 and "not beyond chance" in why
    place, why = choose([rich, same], balance_of([rich, same]))
    assert place == 0 and "was not among" in why


def test_photos_that_fail_at_one_setting_are_left_out_of_all(corpus, writer, tmp_path):
    (corpus / "photos" / "p3.jpg").write_bytes(b"\xff\xd8\xff")
    printed, said = run(corpus, tmp_path / "sweep")
    assert printed.startswith("2 photos") and any("p3" in sentence for sentence in said)


def test_a_sweep_without_anything_to_measure_against_is_refused_in_one_sentence(corpus, writer, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="CIDEr-D is 0 at every setting on 1 photos"):  # one photo has no rare words
        sweep(corpus, tmp_path / "one", GRID, photos=1, say=print)
    captions = [EvaluationPhoto("p1", "photos/p1.jpg", "犬", ("犬が走る",), ())]
    monkeypatch.setattr(module, "read_corpus", lambda corpus, split: captions)
    with pytest.raises(ValueError, match="have no reference tweets"):
        sweep(corpus, tmp_path / "none", GRID, say=print)
    assert not (tmp_path / "none").exists()
