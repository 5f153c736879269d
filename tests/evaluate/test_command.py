"""The evaluation command end to end, on photos drawn here and a writer whose answers are known."""

import csv
import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torchvision.io import write_jpeg

from tweetcap.evaluate import command

SPECIES = ("犬", "犬", "猫", "なし")


@dataclass(frozen=True)
class FakeTweet:
    text: str
    tone: str
    log_likelihood: float
    grounding: float


class KnownWriter:
    """Says 犬 of all; a word costs two nats, three without a photo; a caption of a wrong photo one more."""

    def write(self, photo, *, count, seed):
        return [FakeTweet(f"犬が{number}回まわった", "つぶやき", -2.0, 0.5) for number in range(count)]

    def describe(self, photo):
        return "犬がいる"

    def encode(self, photos):
        return [int(str(photo).removesuffix(".jpg")[-1]) for photo in photos]  # the photo's number

    def log_likelihoods(self, texts, tones, encoded, rows=None, registers=None):
        if encoded is None:
            return [-3.0 * len(command.words_of(text)) for text in texts]
        nats = [2.0 * len(command.words_of(text)) for text in texts]
        for place, (text, tone, row) in enumerate(zip(texts, tones, rows, strict=True)):
            nats[place] += tone == "説明" and SPECIES[encoded[row]] not in text
        return [-number for number in nats]


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(command.TweetWriter, "from_pretrained", lambda model=None: KnownWriter())
    folder = tmp_path / "corpus"
    (folder / "photos").mkdir(parents=True)
    rows = []
    for number, species in enumerate(SPECIES):
        name = f"photos/p{number}.jpg"
        write_jpeg(torch.full((3, 48, 64), 40 * number, dtype=torch.uint8), str(folder / name))
        tweets = [
            {"tone": "つぶやき", "style": "plain", "text": f"{species}が{number}匹いた"},
            {"tone": "大喜利", "style": "witty", "text": f"終電を逃した{number}人"},
        ]
        split = "validation" if number else "train"
        row = {"photo_id": f"p{number}", "photo": name, "split": split, "species": species}
        rows.append(row | {"caption": f"{species}が庭にいる", "tweets": tweets})
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (folder / "starter.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def measured(corpus, **options):
    output = corpus.parent / "output"
    printed = command.evaluate(corpus=corpus, output=output, **options)
    return printed, json.loads((output / "metrics.json").read_text(encoding="utf-8"))["figures"], output


def test_the_figures_are_those_of_the_writer(corpus):
    printed, figures, _ = measured(corpus)
    values = {name: row["value"] for name, row in figures.items()}
    assert values["説明 names the right animal"] == 0.5  # a dog, a cat; the third shows no animal
    assert values["tweets that name an animal"] == 1
    assert values["tweets that name a wrong animal"] == 0.5
    assert values["witty tweets: nats a word with the photo"] == 2
    assert values["witty tweets: nats a word with the null image"] == 3
    assert values["plain tweets: gain by the photo"] == 1
    assert values["the own photo ranks first among 3 by its caption"] == 1
    assert values["photos with 5 different tweets"] == 1
    assert all(name in printed for name in figures)


def test_a_tweet_that_training_contains_is_a_copy(corpus):
    rows = [json.loads(line) for line in (corpus / "starter.jsonl").read_text(encoding="utf-8").splitlines()]
    rows[0]["tweets"][0]["text"] = "犬が3回まわった！"
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (corpus / "starter.jsonl").write_text("".join(lines), encoding="utf-8")
    _, figures, _ = measured(corpus)
    assert figures["copies of a training text among 15 tweets"]["value"] == 3


def test_predictions_and_sheets_hold_every_photo_by_its_place_in_the_corpus(corpus):
    _, _, output = measured(corpus, count=2)
    rows = [json.loads(line) for line in (output / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["photo"] for row in rows] == ["photos/p1.jpg", "photos/p2.jpg", "photos/p3.jpg"]
    with (output / "contact_sheet.csv").open(encoding="utf-8", newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)] == [
            "犬がいる",
            "犬が0回まわった",
            "犬が1回まわった",
        ] * 3
    assert (output / "contact_sheet_01.png").read_bytes().startswith(b"\x89PNG")


def test_only_so_many_photos_are_taken_as_asked(corpus):
    printed, figures, _ = measured(corpus, photos=1)
    assert printed.startswith("1 validation photos")
    assert figures["tweets that name a wrong animal"]["value"] == 0


def test_groups_cover_every_photo_at_one_size():
    groups = command._groups(np.arange(45), 20)
    assert [len(group) for group in groups] == [20, 20, 20]
    assert set(np.concatenate(groups)) == set(range(45))
