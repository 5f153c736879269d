"""A stand-in for `TweetWriter` whose texts and likelihoods are known, and a corpus of four photos for it."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch
from torchvision.io import write_jpeg

from tweetcap.data.photo import load_photo
from tweetcap.evaluate.words import words_of

SPECIES = ("犬", "犬", "猫", "なし")


@dataclass(frozen=True)
class KnownTweet:
    text: str
    tone: str
    log_likelihood: float
    grounding: float


class KnownWriter:
    """Says 犬 of all; a word costs two nats, three without a photo; a caption of a wrong photo costs one more.

    A photo's number is its grey ÷ 40. The seed shows in the tweets, so that another one gives other tweets.
    """

    def __init__(self, animal: str = "犬"):
        self.animal = animal
        self.outcomes = Counter()
        self.model = SimpleNamespace(config=SimpleNamespace(_commit_hash="0123abc"))
        self.tokenizer = SimpleNamespace(encode=lambda text: list(text))
        self.written = 0

    def write(self, photo, *, count, seed, temperature=0.8, top_p=0.9, guidance=0.5, max_length=140):
        load_photo(photo)
        self.written += 1
        self.outcomes.update(passed=count, copy=2, unfinished=1)
        return [
            KnownTweet(f"{self.animal}が{number}回まわった、{seed % 1000}", "つぶやき", -2.0, 0.5)
            for number in range(count)
        ]

    def describe(self, photo):
        load_photo(photo)
        return f"{self.animal}がいる"

    def encode(self, photos):
        return [round(float(load_photo(photo).float().mean()) / 40) for photo in photos]

    def log_likelihoods(self, texts, tones, encoded, rows=None, registers=None):
        if encoded is None:
            return [-3.0 * len(words_of(text)) for text in texts]
        nats = [2.0 * len(words_of(text)) for text in texts]
        for place, (text, tone, row) in enumerate(zip(texts, tones, rows, strict=True)):
            nats[place] += tone == "説明" and SPECIES[encoded[row]] not in text
        return [-number for number in nats]


def save_corpus(folder: Path) -> Path:
    """Write a corpus of one training photo and three to validate on: a dog, a cat, and no animal."""
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
    save_rows(folder / "starter.jsonl", rows)
    return folder


def save_rows(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def read_rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
