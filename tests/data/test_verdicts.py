"""Verdicts compare texts of one photo and tone, and become examples of their photo's split."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from draw_shapes import draw_corpus

from tests.tiny import tiny_processor, tiny_tokenizer
from tweetcap.data.batches import BatchSettings, EpochBatches
from tweetcap.data.examples import open_corpus
from tweetcap.data.features import PhotoViews
from tweetcap.data.verdicts import FIELDS, read_verdicts

ROWS = [
    ("s0012", "drawn", "つぶやき", "赤い丸を見た", 1, 1, 0),
    ("s0012", "drawn", "つぶやき", "赤い丸が走ってた", 1, 0, 0),
    ("s0012", "mended", "つぶやき", "赤い丸がころがってた", 1, 1, 1),
    ("s0012", "drawn", "大喜利", "赤い丸の丸", 0, 0, 0),
    ("s0012", "drawn", "大喜利", "丸の赤い赤", 0, 0, 0),
    ("s0000", "drawn", "ほっこり", "丸、かわいい", 1, 1, 1),
    ("s0000", "drawn", "ほっこり", "丸が丸", 0, 0, 0),
]


def write(path: Path, rows=ROWS) -> Path:
    with path.open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows([FIELDS, *rows])
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    draw_corpus(folder, photos_a_kind=8)
    splits = {row["photo_id"]: row["split"] for row in map(json.loads, (folder / "starter.jsonl").open())}
    assert (splits["s0012"], splits["s0000"]) == ("train", "validation")
    return folder


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def test_a_text_is_compared_with_those_of_its_photo_and_tone_and_nothing_is_learnt_where_all_are_alike(tmp_path):
    texts = read_verdicts(write(tmp_path / "verdicts.csv"))
    assert [(text.text, text.advantage) for text in texts] == [
        ("赤い丸が走ってた", -1.0),
        ("赤い丸がころがってた", 1.0),
        ("丸、かわいい", 1.5),
        ("丸が丸", -1.5),
    ]
    assert [text.writer for text in texts] == ["drawn", "mended", "drawn", "drawn"]


@pytest.mark.parametrize(
    "row",
    [
        ("s0012", "drawn", "つぶやき", "丸", 1, 2, 0),
        ("s0012", "drawn", "つぶやき", "丸", 1, 1, ""),
        ("s0012", "drawn", "つぶやき", "", 1, 1, 0),
        ("s0012", "somebody", "つぶやき", "丸", 1, 1, 0),
        ("s0012", "drawn", "つぶやき", "丸", 1),
    ],
)
def test_a_broken_row_is_named_by_its_line(tmp_path, row):
    path = write(tmp_path / "verdicts.csv", [*ROWS, row])
    with pytest.raises(ValueError, match=r"verdicts\.csv, line 9 is no row of photo_id, .*; mend it\."):
        read_verdicts(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.csv is missing; name a CSV"):
        read_verdicts(tmp_path / "none.csv")


def test_verdicts_belong_to_the_split_of_their_photo_and_to_the_plain_register(folder, tokenizer, tmp_path):
    path = write(tmp_path / "verdicts.csv", [*ROWS, ("s9999", "drawn", "大喜利", "ない", 1, 1, 1)])
    for split, expected in (
        ("train", {"drawn": ["赤い丸が走ってた"], "mended": ["赤い丸がころがってた"]}),
        ("validation", {"drawn": ["丸、かわいい", "丸が丸"], "mended": []}),
    ):
        corpus = open_corpus([folder], split, tokenizer, ["drawn", "mended", "plain"], verdicts=[path])
        assert {name: [each.text for each in corpus.examples[name]] for name in expected} == expected
        for example in corpus.examples["drawn"]:
            assert (
                list(example.label_ids[:2])
                == tokenizer.prompt_ids("つぶやき" if split == "train" else "ほっこり", "plain")[1:]
            )
            assert Path(corpus.photos[example.photo]).stem == ("s0012" if split == "train" else "s0000")


def test_a_text_with_verdicts_always_sees_its_photo(folder, tokenizer, tmp_path):
    path = write(tmp_path / "verdicts.csv")
    corpus = open_corpus([folder], "train", tokenizer, ["drawn", "mended", "plain"], verdicts=[path])
    rows = corpus.examples["plain"][:20].joined([corpus.examples["drawn"], corpus.examples["mended"]])
    views = PhotoViews(corpus.photos, tiny_processor(tokenizer).image_processor, seed=1)
    hidden = []
    for epoch in range(4):
        settings = BatchSettings(batch_size=22, null_photo=0.9)
        (batch,) = EpochBatches(rows, views, settings, 2, epoch=epoch)
        assert batch["judged"].sum() == 2 and batch["photo_mask"][batch["judged"]].all()
        np.testing.assert_allclose(sorted(batch["weights"][batch["judged"]].tolist()), [-1, 1])
        hidden.append((~batch["photo_mask"]).sum().item())
    assert np.mean(hidden) > 14
